"use strict";

// --at attention: a patch is pressed, its row in every head and layer is drawn. See analysis/inside/attention/clicking.py.
function attentionRows(root) {
  const data = JSON.parse(root.querySelector("script").textContent);
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const colours = bytes(data.colours);
  const [choice, frame, picture, mark, words, table] =
    ["select", ".image", "img", ".image span", "[aria-live]", "table"].map((one) => root.querySelector(one));
  const finest = data.layers.reduce((a, b) => (b.grid[0] * b.grid[1] > a.grid[0] * a.grid[1] ? b : a)).grid;
  const unpacked = new Map();
  let at = data.start;  // share of height and width

  const cells = data.layers.map((layer) => {
    const row = table.insertRow();
    const head = document.createElement("th");
    head.textContent = layer.name;
    row.append(head);
    return Array.from({ length: layer.heads }, (_, number) => {
      const canvas = document.createElement("canvas");
      [canvas.height, canvas.width] = layer.grid;
      canvas.setAttribute("role", "img");
      row.insertCell().append(canvas);
      return canvas;
    });
  });

  function maps(image) {
    if (!unpacked.has(image)) {
      const { rows, largest } = data.images[image];
      unpacked.set(image, { rows: rows.map(bytes), largest: largest.map((text) => new Float32Array(bytes(text).buffer)) });
    }
    return unpacked.get(image);
  }

  function place(grid) {
    return grid.map((count, axis) => Math.min(count - 1, Math.max(0, Math.floor(at[axis] * count))));
  }

  function show() {
    const image = choice.selectedIndex;
    const { rows, largest } = maps(image);
    const said = new Map();
    picture.src = data.images[image].picture;
    data.layers.forEach((layer, number) => {
      const [height, width] = layer.grid, count = height * width;
      const [row, column] = place(layer.grid), patch = row * width + column;
      const key = `${height}x${width}+${layer.extra}`;
      if (!said.has(key)) {
        const token = layer.extra + patch, all = layer.extra + count;
        said.set(key, `Patch ${patch + 1} of ${height} × ${width}: row ${row + 1}, column ${column + 1}; row ${token}, ` +
          `counted from 0, of the ${all} × ${all} matrix` +
          (layer.before ? `; left out of the maps: ${layer.before}.` : "."));
      }
      cells[number].forEach((canvas, head) => {
        const start = (head * count + patch) * count;
        const pixels = new ImageData(width, height);
        for (let key = 0; key < count; key += 1) {
          const colour = 3 * rows[number][start + key];
          pixels.data.set([colours[colour], colours[colour + 1], colours[colour + 2], 255], 4 * key);
        }
        canvas.getContext("2d").putImageData(pixels, 0, 0);
        const most = largest[number][head * count + patch].toPrecision(2);
        canvas.title = `${layer.name}, head ${head + 1}: 0 to ${most}`;
        canvas.setAttribute("aria-label", canvas.title);
      });
    });
    const [row, column] = place(finest);
    Object.assign(mark.style, { top: `${100 * row / finest[0]}%`, left: `${100 * column / finest[1]}%`,
      height: `${100 / finest[0]}%`, width: `${100 / finest[1]}%` });
    words.textContent = [...said.values()].join(" ");
  }

  function move(row, column) {
    at = [(row + 0.5) / finest[0], (column + 0.5) / finest[1]];
    show();
  }

  frame.addEventListener("click", (event) => {
    const box = picture.getBoundingClientRect();
    at = [(event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width];
    show();
  });
  frame.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    const [row, column] = place(finest).map((one, axis) => Math.min(finest[axis] - 1, Math.max(0, one + step[axis])));
    move(row, column);
  });
  choice.addEventListener("change", show);
  root.hidden = false;
  show();
}

document.querySelectorAll(".attention-rows").forEach(attentionRows);
