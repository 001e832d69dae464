// Loss surfaces over two weights: value and gradient. Their ranges, starts and texts come from surfaces.py.

export const SURFACES = {
  quadratic: {
    value: (x, y) => 0.5 * (x * x + 20 * y * y),
    gradient: (x, y) => [x, 20 * y],
  },
  rosenbrock: {
    value: (x, y) => (1 - x) ** 2 + 100 * (y - x * x) ** 2,
    gradient: (x, y) => [-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)],
  },
  saddle: {
    value: (x, y) => 0.5 * x * x - 0.5 * y * y + 0.25 * y ** 4,
    gradient: (x, y) => [x, y ** 3 - y],
  },
  himmelblau: {
    value: (x, y) => (x * x + y - 11) ** 2 + (x + y * y - 7) ** 2,
    gradient: (x, y) => [4 * x * (x * x + y - 11) + 2 * (x + y * y - 7), 2 * (x * x + y - 11) + 4 * y * (x + y * y - 7)],
  },
};

// A surface given at the nodes of a regular grid by value, slopes dx, dy and twist dxy; in between the bicubic that has
// all of these at the nodes, held at the rim. value[row][column]: rows go along y, columns along x.
export function gridSurface(grid, [x0, x1], [y0, y1]) {
  const rows = grid.value.length, columns = grid.value[0].length;
  const hx = (x1 - x0) / (columns - 1), hy = (y1 - y0) / (rows - 1);
  const place = (v, low, h, count) => {
    const at = Math.min(Math.max((v - low) / h, 0), count - 1), i = Math.min(Math.floor(at), count - 2);
    return [i, at - i];
  };
  // Hermite's cubics at t: for the values at 0 and 1, then for the slopes there; and their derivatives.
  const basis = (t) => [(1 + 2 * t) * (1 - t) ** 2, t * t * (3 - 2 * t), t * (1 - t) ** 2, t * t * (t - 1)];
  const steep = (t) => [6 * t * (t - 1), 6 * t * (1 - t), (1 - t) * (1 - 3 * t), t * (3 * t - 2)];
  const read = (x, y, alongX, alongY) => {
    const [i, u] = place(x, x0, hx, columns), [j, v] = place(y, y0, hy, rows), p = alongX(u), q = alongY(v);
    let sum = 0;
    for (const b of [0, 1]) {
      for (const a of [0, 1]) {
        const at = (name) => grid[name][j + b][i + a];
        sum += q[b] * (p[a] * at("value") + hx * p[2 + a] * at("dx")) + hy * q[2 + b] * (p[a] * at("dy") + hx * p[2 + a] * at("dxy"));
      }
    }
    return sum;
  };
  return {
    value: (x, y) => read(x, y, basis, basis),
    gradient: (x, y) => [read(x, y, steep, basis) / hx, read(x, y, basis, steep) / hy],
  };
}
