"""From one feature matrix to its components, and from the components of many to scores."""
