// Matrices, row by row in one typed array, and what linear algebra a filter needs of them.

export class Matrix {
  /** `data` is a Float32Array or a Float64Array of rows x columns numbers. */
  constructor(rows, columns, data = new Float32Array(rows * columns)) {
    if (data.length !== rows * columns) throw new Error(`${data.length} numbers are no ${rows} x ${columns}`);
    this.rows = rows;
    this.columns = columns;
    this.data = data;
  }

  row(number) {
    return this.data.subarray(number * this.columns, (number + 1) * this.columns);
  }

  at(row, column) {
    return this.data[row * this.columns + column];
  }

  column(number) {
    const found = new this.data.constructor(this.rows);
    for (let row = 0; row < this.rows; row++) found[row] = this.data[row * this.columns + number];
    return found;
  }

  /** Some of the rows, in this order. */
  take(rows) {
    const found = new Matrix(rows.length, this.columns, new this.data.constructor(rows.length * this.columns));
    rows.forEach((row, place) => found.row(place).set(this.row(row)));
    return found;
  }

  /** Some of the columns, in this order. */
  only(columns) {
    const found = new Matrix(this.rows, columns.length, new this.data.constructor(this.rows * columns.length));
    for (let row = 0; row < this.rows; row++) {
      columns.forEach((column, place) => (found.data[row * columns.length + place] = this.data[row * this.columns + column]));
    }
    return found;
  }

  transposed() {
    const found = new Matrix(this.columns, this.rows, new this.data.constructor(this.data.length));
    for (let row = 0; row < this.rows; row++) {
      for (let column = 0; column < this.columns; column++) {
        found.data[column * this.rows + row] = this.data[row * this.columns + column];
      }
    }
    return found;
  }

  static of(columns, of_row, rows) {
    const found = new Matrix(rows, columns);
    for (let row = 0; row < rows; row++) found.row(row).set(of_row(row));
    return found;
  }

  static identity(size) {
    const found = new Matrix(size, size, new Float64Array(size * size));
    for (let place = 0; place < size; place++) found.data[place * size + place] = 1;
    return found;
  }
}

/** The product of two matrices. */
export function times(left, right) {
  const found = new Matrix(left.rows, right.columns, new left.data.constructor(left.rows * right.columns));
  for (let row = 0; row < left.rows; row++) addProduct(left.row(row), right, found.row(row));
  return found;
}

/** Adds a row times a matrix, times `weight`, to `sum`. */
export function addProduct(row, matrix, sum, weight = 1) {
  const { columns, data } = matrix;
  let place = 0;
  // Four rows of the matrix at a time: each number of the sum is then read and written a quarter as often.
  for (; place + 4 <= row.length; place += 4) {
    const first = weight * row[place];
    const second = weight * row[place + 1];
    const third = weight * row[place + 2];
    const fourth = weight * row[place + 3];
    const one = place * columns;
    const two = one + columns;
    const three = two + columns;
    const four = three + columns;
    for (let column = 0; column < columns; column++) {
      sum[column] +=
        first * data[one + column] + second * data[two + column] + third * data[three + column] + fourth * data[four + column];
    }
  }
  for (; place < row.length; place++) {
    const factor = weight * row[place];
    const start = place * columns;
    for (let column = 0; column < columns; column++) sum[column] += factor * data[start + column];
  }
}

/** The sum over all rows of x [N, D] of `weights` [N] times the row's product with itself: [D, D], in double precision. */
export function weightedSquare(x, weights) {
  const { columns, data } = x;
  const found = new Matrix(columns, columns, new Float64Array(columns * columns));
  const sum = found.data;
  const rows = [...weights.keys()].filter((row) => weights[row] !== 0);
  while (rows.length % 4) rows.push(-1);
  for (let place = 0; place < rows.length; place += 4) {
    const four = [0, 1, 2, 3].map((next) => rows[place + next]);
    const [one, two, three, last] = four.map((row) => Math.max(row, 0) * columns);
    const [first, second, third, fourth] = four.map((row) => (row < 0 ? 0 : weights[row]));
    for (let left = 0; left < columns; left++) {
      const start = left * columns;
      const [a, b] = [first * data[one + left], second * data[two + left]];
      const [c, d] = [third * data[three + left], fourth * data[last + left]];
      for (let right = left; right < columns; right++) {
        sum[start + right] += a * data[one + right] + b * data[two + right] + c * data[three + right] + d * data[last + right];
      }
    }
  }
  for (let left = 0; left < columns; left++) {
    for (let right = left + 1; right < columns; right++) sum[right * columns + left] = sum[left * columns + right];
  }
  return found;
}

/** x with A x = B, for A [N, N] and B [N, M]: by elimination, the largest of what is left first. */
export function solve(matrix, right) {
  const size = matrix.rows;
  const left = Float64Array.from(matrix.data);
  const found = new Matrix(size, right.columns, Float64Array.from(right.data));
  const swap = (data, width, one, other) => {
    for (let column = 0; column < width; column++) {
      const kept = data[one * width + column];
      data[one * width + column] = data[other * width + column];
      data[other * width + column] = kept;
    }
  };
  for (let step = 0; step < size; step++) {
    let largest = step;
    for (let row = step + 1; row < size; row++) {
      if (Math.abs(left[row * size + step]) > Math.abs(left[largest * size + step])) largest = row;
    }
    if (largest !== step) {
      swap(left, size, step, largest);
      swap(found.data, found.columns, step, largest);
    }
    for (let row = step + 1; row < size; row++) {
      const factor = left[row * size + step] / left[step * size + step];
      if (factor === 0) continue;
      for (let column = step; column < size; column++) left[row * size + column] -= factor * left[step * size + column];
      const [from, to] = [found.row(step), found.row(row)];
      for (let column = 0; column < found.columns; column++) to[column] -= factor * from[column];
    }
  }
  for (let step = size - 1; step >= 0; step--) {
    const own = found.row(step);
    for (let row = step + 1; row < size; row++) {
      const factor = left[step * size + row];
      const other = found.row(row);
      for (let column = 0; column < found.columns; column++) own[column] -= factor * other[column];
    }
    for (let column = 0; column < found.columns; column++) own[column] /= left[step * size + step];
  }
  return found;
}

/** Eigenvalues and, in columns, eigenvectors of a symmetric matrix: by Jacobi's rotations. */
export function eigen(matrix) {
  const size = matrix.rows;
  const a = Float64Array.from(matrix.data);
  const vectors = Matrix.identity(size);
  const v = vectors.data;
  for (let sweep = 0; sweep < 30; sweep++) {
    let off = 0;
    let all = 0;
    for (let row = 0; row < size; row++) {
      for (let column = 0; column < size; column++) {
        all += a[row * size + column] ** 2;
        if (row !== column) off += a[row * size + column] ** 2;
      }
    }
    if (off <= 1e-24 * all) break;
    for (let p = 0; p < size; p++) {
      for (let q = p + 1; q < size; q++) {
        const between = a[p * size + q];
        if (Math.abs(between) < 1e-300) continue;
        const theta = (a[q * size + q] - a[p * size + p]) / (2 * between);
        const t = (theta >= 0 ? 1 : -1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
        const c = 1 / Math.sqrt(t * t + 1);
        const s = t * c;
        for (let k = 0; k < size; k++) {
          const [one, other] = [a[k * size + p], a[k * size + q]];
          a[k * size + p] = c * one - s * other;
          a[k * size + q] = s * one + c * other;
        }
        for (let k = 0; k < size; k++) {
          const [one, other] = [a[p * size + k], a[q * size + k]];
          a[p * size + k] = c * one - s * other;
          a[q * size + k] = s * one + c * other;
          const [first, second] = [v[k * size + p], v[k * size + q]];
          v[k * size + p] = c * first - s * second;
          v[k * size + q] = s * first + c * second;
        }
      }
    }
  }
  return { values: Float64Array.from({ length: size }, (_, place) => a[place * size + place]), vectors };
}

/** A power of a symmetric matrix, each of whose eigenvalues is taken for `least` at least. */
export function power(matrix, exponent, least) {
  const { values, vectors } = eigen(matrix);
  const raised = values.map((value) => Math.max(value, least) ** exponent);
  const scaled = new Matrix(vectors.rows, vectors.columns, Float64Array.from(vectors.data));
  for (let row = 0; row < scaled.rows; row++) scaled.row(row).forEach((_, column, own) => (own[column] *= raised[column]));
  return times(scaled, vectors.transposed());
}

/** The order in which `values` rise; of the same ones the first comes first. */
export function sorted(values) {
  return Uint32Array.from(values.keys()).sort((one, other) => values[one] - values[other] || one - other);
}

/** How many of `edges`, which rise, lie below `value`. */
export function below(edges, value) {
  let [low, high] = [0, edges.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (edges[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** How many of `edges`, which rise, are at most `value`. */
export function upTo(edges, value) {
  let [low, high] = [0, edges.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (edges[middle] <= value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Piecewise linear through `levels` at `places`, which rise; constant beyond them. */
export function interpolated(value, places, levels) {
  const last = places.length - 1;
  const next = upTo(places, value);
  if (next === 0) return levels[0];
  if (next > last) return levels[last];
  const slope = (levels[next] - levels[next - 1]) / (places[next] - places[next - 1]);
  return levels[next - 1] + slope * (value - places[next - 1]);
}

/** The quantiles of `values`, interpolated, at these ranks in 0..1. */
export function quantiles(values, ranks) {
  const ordered = Float64Array.from(values).sort();
  return Float64Array.from(ranks, (rank) => {
    const position = rank * (ordered.length - 1);
    const lower = Math.min(Math.floor(position), Math.max(ordered.length - 2, 0));
    const upper = Math.min(lower + 1, ordered.length - 1);
    return ordered[lower] + (position - lower) * (ordered[upper] - ordered[lower]);
  });
}

/** So many numbers from 0 to 1 at the same distance. */
export function grid(count) {
  return Float64Array.from({ length: count }, (_, place) => place / (count - 1));
}
