"use strict";
(() => {
  const panels = JSON.parse(document.getElementById("panels").textContent);
  const drawn = [...document.querySelectorAll(".panel")];
  for (const node of drawn) {
    const { data, layout } = panels.figures[Number(node.dataset.panel)];
    Plotly.newPlot(node, data, layout, panels.config);
  }

  // A printed page is narrower than the screen, and plotly has to be told before the page is set.
  const widthOnPaper = (node) => (node.closest(".columns-1") ? 620 : 310);
  window.addEventListener("beforeprint", () => {
    for (const node of drawn) Plotly.relayout(node, { autosize: false, width: widthOnPaper(node), height: 270 });
  });
  window.addEventListener("afterprint", () => {
    for (const node of drawn) {
      const { height } = panels.figures[Number(node.dataset.panel)].layout;
      Plotly.relayout(node, { autosize: true, width: null, height });
    }
  });

  for (const button of document.querySelectorAll(".legend button")) {
    button.addEventListener("click", () => {
      const visible = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(visible));
      for (const node of button.closest("figure").querySelectorAll(".panel")) {
        const places = node.data.flatMap((trace, place) => (trace.meta === button.dataset.series ? [place] : []));
        if (places.length) Plotly.restyle(node, { visible }, places);
      }
    });
  }

  // Numbers sort as numbers, texts as texts, and what is missing always comes last.
  const compare = (a, b) => {
    const [left, right] = [Number(a), Number(b)];
    return Number.isNaN(left) || Number.isNaN(right) ? a.localeCompare(b) : left - right;
  };
  const sort = (table, column, sign) => {
    const body = table.tBodies[0];
    const value = (row) => row.cells[column].dataset.value;
    const rows = [...body.rows].sort((a, b) => {
      if (value(a) === "" || value(b) === "") return (value(a) === "") - (value(b) === "");
      return sign * compare(value(a), value(b));
    });
    body.append(...rows);
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      if (table.tBodies[0].querySelector(`td[class]:nth-child(${column + 1})`)) head.classList.add("number");
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        sort(table, column, up ? 1 : -1);
      });
    });
  }
})();
