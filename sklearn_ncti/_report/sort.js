for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  for (const head of heads) {
    head.querySelector("button").addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      const up = now ? now === "descending" : head.dataset.first === "ascending";
      const rows = [...table.tBodies[0].rows];
      const key = (row) => row.cells[head.cellIndex].dataset.key;
      rows.sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === y) return 0;
        if (x === "") return 1;
        if (y === "") return -1;
        const numbers = head.dataset.kind === "number";
        const order = numbers ? Number(x) - Number(y) : x < y ? -1 : 1;
        return up ? order : -order;
      });
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      table.tBodies[0].append(...rows);
    });
  }
}
