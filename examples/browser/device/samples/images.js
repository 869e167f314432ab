// Pictures, as Pillow resamples them: to the last bit, so that the same pixels give the same face sample everywhere.

const PRECISION = 2 ** 22;
const SHARP = -0.5; // of the bicubic filter of a resize

/** Pixels in RGB, row by row. */
export class Picture {
  constructor(width, height, data = new Uint8Array(width * height * 3)) {
    Object.assign(this, { width, height, data });
  }
}

const bilinear = { support: 1, at: (x) => Math.max(0, 1 - Math.abs(x)) };
const bicubic = {
  support: 2,
  at: (place) => {
    const x = Math.abs(place);
    if (x < 1) return ((SHARP + 2) * x - (SHARP + 3)) * x * x + 1;
    if (x < 2) return (((x - 5) * x + 8) * x - 4) * SHARP;
    return 0;
  },
};

/** The whole picture at another size, with anti-aliasing; bilinear. */
export const resized = (picture, width, height) => resampled(picture, width, height, bilinear);

function resampled(picture, width, height, filter) {
  const wide = picture.width === width ? picture : across(picture, width, filter);
  if (picture.height === height) return wide;
  return turned(across(turned(wide), height, filter));
}

/** Every row brought to another width. */
function across(picture, width, filter) {
  const found = new Picture(width, picture.height);
  const scale = picture.width / width;
  const stretch = Math.max(scale, 1);
  const support = filter.support * stretch;
  for (let column = 0; column < width; column++) {
    const centre = (column + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - support + 0.5), 0);
    const last = Math.min(Math.trunc(centre + support + 0.5), picture.width);
    let weights = Array.from({ length: last - first }, (_, place) => filter.at((place + first - centre + 0.5) * (1 / stretch)));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    weights = weights.map((weight) => {
      const share = (sum === 0 ? weight : weight * (1 / sum)) * PRECISION;
      return Math.trunc(share < 0 ? share - 0.5 : share + 0.5);
    });
    for (let row = 0; row < picture.height; row++) {
      const start = (row * picture.width + first) * 3;
      for (let channel = 0; channel < 3; channel++) {
        let total = PRECISION / 2;
        for (let place = 0; place < weights.length; place++) total += picture.data[start + 3 * place + channel] * weights[place];
        found.data[(row * width + column) * 3 + channel] = Math.min(Math.max(Math.floor(total / PRECISION), 0), 255);
      }
    }
  }
  return found;
}

/** Rows for columns. */
function turned(picture) {
  const found = new Picture(picture.height, picture.width);
  for (let row = 0; row < picture.height; row++) {
    for (let column = 0; column < picture.width; column++) {
      const [from, to] = [(row * picture.width + column) * 3, (column * picture.height + row) * 3];
      for (let channel = 0; channel < 3; channel++) found.data[to + channel] = picture.data[from + channel];
    }
  }
  return found;
}

/**
 * A square of a picture seen through a similarity transform, [[a, b, c], [d, e, f]], which takes a point of the result to
 * one of the picture. Beyond its edge the border is repeated (privsdk.samples.images.warp).
 */
export function warped(picture, matrix, size) {
  const [[a, b, c], [d, e, f]] = matrix;
  const step = Math.sqrt(Math.abs(a * e - b * d));
  const block = Math.max(1, Math.floor(step / 2));
  const fineness = Math.max(1, Math.ceil(step / block));
  const corners = [[0, 0], [size, 0], [0, size], [size, size]].map(([x, y]) => [a * x + b * y + c, d * x + e * y + f]);
  const reach = 3 * block;
  const ends = [0, 1].map((axis) => {
    const own = corners.map((corner) => corner[axis]);
    return [Math.min(...own) - reach, Math.max(...own) + reach];
  });
  const { part, origin } = blocks(picture, ends, block);
  const inward = [
    [a / fineness / block, b / fineness / block, (c - origin[0]) / block],
    [d / fineness / block, e / fineness / block, (f - origin[1]) / block],
  ];
  return resampled(transformed(part, inward, size * fineness), size, size, bicubic);
}

/** The means of blocks of pixels between two points, and where the first block begins. */
function blocks(picture, ends, block) {
  const clip = (value, least, most) => Math.min(Math.max(value, least), most);
  const [columns, rows] = [picture.width, picture.height].map((extent, axis) => {
    const [start, stop] = ends[axis];
    const first = clip(Math.floor(start), 0, extent - 1);
    const last = clip(Math.ceil(stop), first + 1, extent);
    const [low, high] = [Math.floor((start - first) / block), Math.ceil((stop - first) / block)];
    return { first, length: last - first, low, count: high - low, inside: Math.ceil((last - first) / block) };
  });
  const inside = new Picture(columns.inside, rows.inside);
  for (let row = 0; row < rows.inside; row++) {
    for (let column = 0; column < columns.inside; column++) {
      const high = Math.min(block, rows.length - row * block);
      const wide = Math.min(block, columns.length - column * block);
      const multiplier = Math.floor(2 ** 24 / (high * wide));
      for (let channel = 0; channel < 3; channel++) {
        let sum = Math.floor((high * wide) / 2);
        for (let y = 0; y < high; y++) {
          const start = (rows.first + row * block + y) * picture.width + columns.first + column * block;
          for (let x = 0; x < wide; x++) sum += picture.data[(start + x) * 3 + channel];
        }
        inside.data[(row * columns.inside + column) * 3 + channel] = Math.floor((sum * multiplier) / 2 ** 24);
      }
    }
  }
  const part = new Picture(columns.count, rows.count);
  for (let row = 0; row < rows.count; row++) {
    for (let column = 0; column < columns.count; column++) {
      const y = clip(rows.low + row, 0, rows.inside - 1);
      const x = clip(columns.low + column, 0, columns.inside - 1);
      part.data.set(inside.data.subarray((y * columns.inside + x) * 3, (y * columns.inside + x) * 3 + 3), (row * columns.count + column) * 3);
    }
  }
  return { part, origin: [columns.first + columns.low * block, rows.first + rows.low * block] };
}

/** A square seen through an affine transform; bicubic, black beyond the edge. */
function transformed(picture, [[a, b, c], [d, e, f]], size) {
  const found = new Picture(size, size);
  const cubic = (one, two, three, four, at) =>
    two + at * (three - one + at * (2 * (one - two) + three - four + at * (two - one - three + four)));
  for (let row = 0; row < size; row++) {
    for (let column = 0; column < size; column++) {
      const x = a * (column + 0.5) + b * (row + 0.5) + c;
      const y = d * (column + 0.5) + e * (row + 0.5) + f;
      if (x < 0 || x >= picture.width || y < 0 || y >= picture.height) continue;
      const [left, top] = [Math.floor(x - 0.5), Math.floor(y - 0.5)];
      const [right, low] = [x - 0.5 - left, y - 0.5 - top];
      const columns = [-1, 0, 1, 2].map((step) => Math.min(Math.max(left + step, 0), picture.width - 1) * 3);
      for (let channel = 0; channel < 3; channel++) {
        const along = (number) => {
          const start = Math.min(Math.max(number, 0), picture.height - 1) * picture.width * 3 + channel;
          return cubic(...columns.map((place) => picture.data[start + place]), right);
        };
        const value = cubic(along(top - 1), along(top), along(top + 1), along(top + 2), low);
        found.data[(row * size + column) * 3 + channel] = Math.min(Math.max(Math.trunc(value), 0), 255);
      }
    }
  }
  return found;
}
