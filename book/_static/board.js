// The filters of the scoreboard. Each row says its paper, figures, verdict and scale: see book/tools/board.py.
(() => {
  const form = document.querySelector("form.board-filters");
  if (!form) return;
  const rows = [...form.closest("section").querySelectorAll("tr[data-verdict]")];
  const bodies = [...new Set(rows.map((row) => row.parentElement))];
  const tables = [...new Set(bodies.map((body) => body.parentElement))];
  const said = form.querySelector("[role=status]");

  function show() {
    const { paper, figure, verdict, scale } = form.elements;
    for (const group of figure.querySelectorAll("optgroup")) {
      const other = paper.value !== "" && group.dataset.paper !== paper.value;
      group.hidden = group.disabled = other;
      if (other && group.contains(figure.selectedOptions[0])) figure.value = "";
    }
    const [of, number] = figure.value.split("|");
    let shown = 0;
    for (const row of rows) {
      const { dataset } = row;
      const fits =
        (!paper.value || dataset.paper === paper.value) &&
        (!of || (dataset.paper === of && dataset.figures.split("|").includes(number))) &&
        (!verdict.value || dataset.verdict === verdict.value) &&
        (!scale.value || dataset.scale === scale.value);
      row.hidden = !fits;
      shown += fits;
    }
    for (const body of bodies) body.hidden = !body.querySelector("tr[data-verdict]:not([hidden])");
    for (const table of tables) {
      const some = Boolean(table.querySelector("tbody:not([hidden])"));
      table.closest("section").hidden = !some;
      const fold = table.closest("details");
      if (fold) fold.open = some && shown < rows.length;
    }
    said.textContent = `${shown} of ${rows.length} statements`;
  }

  // What is chosen stands in the address, so that a link to it can be sent.
  function chosen() {
    show();
    const said = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
    history.replaceState(null, "", said.size ? `?${said}` : location.pathname);
  }

  form.addEventListener("change", chosen);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(chosen));
  form.hidden = false;
  for (const [name, value] of new URLSearchParams(location.search)) {
    const select = form.elements[name];
    if ([...(select?.options ?? [])].some((option) => option.value === value)) select.value = value;
  }
  show(); // a browser that goes back restores what was chosen
})();
