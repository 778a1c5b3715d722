"""`Ranking`: its results, tables, pictures and analyses, and the functions that make one."""
