"use strict";
// Sorting and copying. Without it the page is whole: plain tables, and commands to select.
(() => {
  const status = document.createElement("p");
  status.className = "unseen";
  status.setAttribute("role", "status");
  document.body.append(status);

  // The first number of a cell: "+2.1", "−1.3", "≥ 9.2×", "55.5 k", "600 – 38,400", "power −12 %". Without one: null.
  const number = (text) => {
    const plain = text.replace(/^[≥≤]\s*/, "").replaceAll("−", "-").replaceAll(",", "");
    const found = /^[+-]?[\d.]+(e[+-]?\d+)?/.exec(plain) ?? /^\w+ ([+-]?[\d.]+) %$/.exec(plain)?.slice(1);
    if (!found) return null;
    const unit = { k: 1e3, M: 1e6, G: 1e9 }[/^\S+\s([kMG])\b/.exec(text)?.[1]] ?? 1;
    return Number(found[0]) * unit;
  };
  const shown = (cell) => (cell.querySelector("a, code") ?? cell).textContent.trim();
  const compare = (a, b) => {
    const [x, y] = [number(a), number(b)];
    if (x !== null && y !== null) return x - y;
    return a.localeCompare(b, "en");
  };

  const sort = (table, column, order) => {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const at = (row) => shown(row.cells[column]);
    const sign = { ascending: 1, descending: -1 }[order] ?? 0;
    // Either way last and in the order of the study: what is absent, and below it what the table rests on.
    const last = (row) => (row.classList.contains("basis") ? 2 : sign && ["–", ""].includes(at(row)) ? 1 : 0);
    rows.sort((a, b) => {
      const behind = last(a) - last(b);
      return behind || (last(a) ? 0 : sign * compare(at(a), at(b))) || a.dataset.place - b.dataset.place;
    });
    body.append(...rows);
  };

  for (const table of document.querySelectorAll("table")) {
    const body = table.tBodies[0];
    if (!table.tHead || body.rows.length < 2) continue;
    [...body.rows].forEach((row, place) => { row.dataset.place = place; });
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.title = "sort";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const first = column === 0 ? "ascending" : "descending";
        const second = column === 0 ? "descending" : "ascending";
        const next = { [first]: second, [second]: null }[head.getAttribute("aria-sort")];
        const order = next === undefined ? first : next;
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        if (order) head.setAttribute("aria-sort", order);
        sort(table, column, order);
        status.textContent = order ? `sorted by ${button.textContent}, ${order}` : "in the order of the study";
      });
    });
  }

  const copy = async (text) => {
    if (navigator.clipboard) {
      try { return await navigator.clipboard.writeText(text); } catch { /* refused: the older way below */ }
    }
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  };
  for (const command of document.querySelectorAll("code.command")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "copy";
    button.setAttribute("aria-label", `copy ${command.textContent}`);
    button.addEventListener("click", async () => {
      await copy(command.textContent);
      button.textContent = "copied";
      status.textContent = `copied ${command.textContent}`;
      setTimeout(() => { button.textContent = "copy"; }, 1500);
    });
    command.after(button);
  }

  // What a link leads to is opened, with all that it lies in; it is gone to again, as opening has moved it.
  const reveal = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const folds = [target?.firstElementChild];
    for (let one = target; one; one = one.parentElement) folds.push(one);
    for (const one of folds) if (one instanceof HTMLDetailsElement) one.open = true;
    target?.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  reveal();

  const folded = () => document.querySelectorAll("details:not([open])");
  addEventListener("beforeprint", () => { for (const one of folded()) { one.open = true; one.dataset.printed = ""; } });
  addEventListener("afterprint", () => {
    for (const one of document.querySelectorAll("details[data-printed]")) { one.open = false; delete one.dataset.printed; }
  });
})();
