for (const table of document.querySelectorAll("table.ranking")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const sort = (head) => {
    const now = head.getAttribute("aria-sort");
    const up = now ? now === "descending" : head.dataset.first === "ascending";
    const key = (row) => row.cells[head.cellIndex].dataset.key;
    const numbers = head.dataset.kind === "number";
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === y) return 0;
      if (x === "") return 1;
      if (y === "") return -1;
      const order = numbers ? Number(x) - Number(y) : x < y ? -1 : 1;
      return up ? order : -order;
    });
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    table.classList.toggle("by-rank", up && head === heads[0]);
    body.append(...rows);
  };
  for (const head of heads) {
    head.querySelector("button").addEventListener("click", () => sort(head));
  }

  const tools = table.parentElement.previousElementSibling;
  tools.hidden = false;
  const words = heads.filter((head) => head.dataset.kind === "word");
  const told = tools.querySelector("output");
  tools.querySelector("input").addEventListener("input", (event) => {
    const wanted = event.target.value.trim().toLowerCase();
    let shown = 0;
    for (const row of body.rows) {
      const text = words.map((head) => row.cells[head.cellIndex].dataset.key).join("\n");
      row.hidden = !text.toLowerCase().includes(wanted);
      shown += !row.hidden;
    }
    told.textContent = wanted ? `${shown} of ${body.rows.length}` : "";
  });

  const choices = tools.querySelector(".choices");
  for (const head of heads) {
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = !head.hidden;
    box.addEventListener("change", () => {
      for (const row of table.rows) row.cells[head.cellIndex].hidden = !box.checked;
    });
    const label = document.createElement("label");
    label.append(box, head.textContent);
    choices.append(label);
  }
}
