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

// A surface given by its values and gradients at the nodes of a regular grid, bilinear in between and held at the rim.
// value[row][column]: rows go along y, columns along x.
export function gridSurface({ value, dx, dy }, [x0, x1], [y0, y1]) {
  const rows = value.length, columns = value[0].length;
  const place = (v, low, high, count) => {
    const at = Math.min(Math.max((v - low) / (high - low), 0), 1) * (count - 1);
    const i = Math.min(Math.floor(at), count - 2);
    return [i, at - i];
  };
  const read = (table, x, y) => {
    const [i, u] = place(x, x0, x1, columns), [j, v] = place(y, y0, y1, rows);
    return (1 - v) * ((1 - u) * table[j][i] + u * table[j][i + 1]) + v * ((1 - u) * table[j + 1][i] + u * table[j + 1][i + 1]);
  };
  return { value: (x, y) => read(value, x, y), gradient: (x, y) => [read(dx, x, y), read(dy, x, y)] };
}
