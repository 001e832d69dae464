// A drawn surface: shading on a canvas, contour lines and marks in an SVG above it, axes with names.

const PLANE = { left: 46, top: 8, size: 290, width: 346, height: 340 };

// Values between which equally many points of the surface lie: a valley and a wall both get their lines.
export function contourLevels(values, count) {
  const sorted = Float64Array.from(values).sort();
  return Array.from({ length: count }, (_, i) => sorted[Math.floor(((i + 0.5) / count) * (sorted.length - 1))]);
}

// Marching squares: line segments [x1, y1, x2, y2], in units of cells, along which a grid has the value `level`.
export function contourSegments(grid, columns, level) {
  const segments = [], rows = grid.length / columns;
  for (let j = 0; j + 1 < rows; j++) {
    for (let i = 0; i + 1 < columns; i++) {
      const corners = [[i, j], [i + 1, j], [i + 1, j + 1], [i, j + 1]];
      const height = corners.map(([a, b]) => grid[b * columns + a] - level);
      const cuts = [];
      for (let k = 0; k < 4; k++) {
        const next = (k + 1) % 4;
        if (height[k] < 0 === height[next] < 0) continue;
        const part = height[k] / (height[k] - height[next]);
        cuts.push([corners[k][0] + part * (corners[next][0] - corners[k][0]), corners[k][1] + part * (corners[next][1] - corners[k][1])]);
      }
      for (let k = 0; k + 1 < cuts.length; k += 2) segments.push([...cuts[k], ...cuts[k + 1]]);
    }
  }
  return segments;
}

function ticks(low, high) {
  const step = [0.1, 0.2, 0.5, 1, 2, 5, 10].find((s) => (high - low) / s <= 7) ?? (high - low) / 5;
  const found = [];
  for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + 1e-9; v += step) found.push(v);
  return found;
}

function plane({ value }, [x0, x1], [y0, y1], names) {
  const { left, top, size, width, height } = PLANE;
  const at = (x, y) => [left + ((x - x0) / (x1 - x0)) * size, top + ((y1 - y) / (y1 - y0)) * size];
  const canvas = make("canvas", { width: size, height: size, class: "sl-shade", "aria-hidden": "true" });
  const clip = unique("clip");
  const layer = draw("g", { "clip-path": `url(#${clip})` });
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
    draw("clipPath", { id: clip }, draw("rect", { x: left, y: top, width: size, height: size })));

  const count = 73, grid = [];
  for (let j = 0; j < count; j++) {
    for (let i = 0; i < count; i++) grid.push(value(x0 + (i / (count - 1)) * (x1 - x0), y1 - (j / (count - 1)) * (y1 - y0)));
  }
  const levels = contourLevels(grid, 12), cell = size / (count - 1);
  levels.forEach((level) => svg.append(draw("path", {
    class: "sl-contour",
    d: contourSegments(grid, count, level).map((s) => s.map((v, k) => ((k % 2 ? top : left) + v * cell).toFixed(1)))
      .map(([a, b, c, d]) => `M${a} ${b}L${c} ${d}`).join(""),
  })));
  // One blue whose opacity rises with the loss looks right on a light and on a dark ground.
  const context = canvas.getContext("2d"), image = context.createImageData(size, size);
  for (let j = 0; j < size; j++) {
    for (let i = 0; i < size; i++) {
      const v = value(x0 + ((i + 0.5) / size) * (x1 - x0), y1 - ((j + 0.5) / size) * (y1 - y0));
      const band = levels.filter((level) => v >= level).length;
      image.data.set([70, 130, 180, 10 + band * 10], 4 * (j * size + i));
    }
  }
  context.putImageData(image, 0, 0);

  for (const x of ticks(x0, x1)) svg.append(draw("text", { x: at(x, y0)[0], y: top + size + 14, "text-anchor": "middle" }, short(Number(x.toFixed(6)))));
  for (const y of ticks(y0, y1)) svg.append(draw("text", { x: left - 6, y: at(x0, y)[1] + 4, "text-anchor": "end" }, short(Number(y.toFixed(6)))));
  svg.append(
    draw("rect", { class: "sl-rim", x: left, y: top, width: size, height: size }),
    draw("text", { x: left + size / 2, y: height - 6, "text-anchor": "middle", class: "sl-axis" }, names[0]),
    draw("text", { x: 10, y: top + size / 2, "text-anchor": "middle", class: "sl-axis", transform: `rotate(-90 12 ${top + size / 2})` }, names[1]),
    layer);
  const read = (event) => {  // the point of the surface under the pointer
    const box = svg.getBoundingClientRect();
    const px = ((event.clientX - box.left) / box.width) * width, py = ((event.clientY - box.top) / box.height) * height;
    return [x0 + ((px - left) / size) * (x1 - x0), y1 - ((py - top) / size) * (y1 - y0)];
  };
  return { node: make("div", { class: "sl-plane" }, canvas, svg), svg, layer, at, read };
}
