// Faces in photos: found, turned upright, and cut out in the frame that encoders are trained on (privsdk.samples.faces).

import { resized, warped } from "./images.js";

export const SIZE = 64;
const TEMPLATE = [[23.59, 32.25], [40.37, 32.65], [31.84, 42.87], [24.01, 49.77], [39.02, 50.18]];
const AROUND = 218 / 148;
const LEAST_EYE_DISTANCE = 12;
const STRIDES = [8, 16, 32];
const LONG_SIDES = [320, 640];
const LEAST_SCORE = 0.6;
const LEANING = (8 * Math.PI) / 180;
const LARGEST_OVERLAP = 0.3;

/** The largest face of a photo, a Picture of 64 x 64. Throws an Error, for the user to read, where there is none. */
export async function faceIn(graphs, photo) {
  const found = await faces(graphs, photo);
  if (!found.length) throw new Error("No face was found. Give a photo that shows one upright, seen from the front.");
  const large = found.find((face) => eyeDistance(face) >= LEAST_EYE_DISTANCE);
  if (!large) {
    throw new Error(
      `The eyes are ${Math.floor(eyeDistance(found[0]))} pixels apart, at least ${LEAST_EYE_DISTANCE} are needed. ` +
        "Give the photo at its full size, or one taken from nearer.",
    );
  }
  return warped(photo, similarity(TEMPLATE, large.landmarks), SIZE);
}

/** All faces, the largest first, each { score, box, landmarks } in pixels of the photo. */
export async function faces(graphs, photo) {
  for (const longSide of LONG_SIDES) {
    const found = await facesAt(graphs, photo, longSide);
    if (!found.length) continue;
    const straight = [];
    for (const face of found) straight.push(await straightened(graphs, photo, face));
    return straight.sort((one, other) => area(other) - area(one));
  }
  return [];
}

const area = ({ box }) => Math.fround(box[2] - box[0]) * Math.fround(box[3] - box[1]);
const eyeDistance = ({ landmarks: [right, left] }) => Math.hypot(right[0] - left[0], right[1] - left[1]);

/** The same face; where it leans, with landmarks from a second look at it turned upright. */
async function straightened(graphs, photo, face) {
  const upright = similarity(TEMPLATE, face.landmarks);
  if (Math.abs(Math.atan2(upright[1][0], upright[0][0])) < LEANING) return face;
  const longSide = LONG_SIDES[0];
  const step = (SIZE * AROUND) / longSide;
  const corner = SIZE / 2 - (step * longSide) / 2;
  const view = upright.map(([a, b, c]) => [a * step, b * step, a * corner + b * corner + c]);
  const seen = await facesAt(graphs, warped(photo, view, longSide), longSide);
  const offCentre = seen.map(({ landmarks }) =>
    Math.hypot(...[0, 1].map((axis) => landmarks.reduce((sum, point) => sum + point[axis], 0) / 5 - longSide / 2)),
  );
  if (!seen.length || Math.min(...offCentre) > longSide / 4) return face;
  const { landmarks } = seen[offCentre.indexOf(Math.min(...offCentre))];
  return { ...face, landmarks: landmarks.map(([x, y]) => view.map(([a, b, c]) => Math.fround(a * x + b * y + c))) };
}

/** The faces that show when the longer side of the photo is brought to so many pixels. */
async function facesAt(graphs, photo, longSide) {
  const scale = longSide / Math.max(photo.height, photo.width);
  const [width, height] = [photo.width, photo.height].map((length) => Math.max(1, halfToEven(length * scale)));
  const [columns, rows] = [width, height].map((length) => Math.ceil(length / 32) * 32);
  const small = resized(photo, width, height);
  const input = new Float32Array(3 * rows * columns);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      for (let channel = 0; channel < 3; channel++) {
        input[(channel * rows + row) * columns + column] = small.data[(row * width + column) * 3 + 2 - channel];
      }
    }
  }
  const found = await graphs.run("detector", { input: [input, [1, 3, rows, columns]] });
  const toPhoto = [photo.width / width, photo.height / height];
  const all = STRIDES.flatMap((stride) => decoded(found, stride, columns / stride, toPhoto));
  return withoutOverlaps(all.sort((one, other) => other.score - one.score));
}

function decoded(found, stride, columns, toPhoto) {
  const [classes, objects, boxes, points] = ["cls", "obj", "bbox", "kps"].map((kind) => found[`${kind}_${stride}`].data);
  const faces = [];
  const share = (value) => Math.min(Math.max(value, 0), 1);
  for (let place = 0; place < classes.length; place++) {
    const score = Math.sqrt(share(classes[place]) * share(objects[place]));
    if (score <= LEAST_SCORE) continue;
    const cell = [place % columns, Math.floor(place / columns)];
    const [centre, half] = [[0, 1], [2, 3]].map((axes, kind) =>
      axes.map((axis) => {
        const value = boxes[4 * place + axis];
        return kind === 0 ? (cell[axis] + value) * stride : (Math.exp(value) * stride) / 2;
      }),
    );
    const box = [0, 1, 2, 3].map((corner) => {
      const axis = corner % 2;
      return Math.fround((centre[axis] + (corner < 2 ? -1 : 1) * half[axis]) * toPhoto[axis]);
    });
    const landmarks = [0, 1, 2, 3, 4].map((point) =>
      [0, 1].map((axis) => Math.fround((points[10 * place + 2 * point + axis] + cell[axis]) * stride * toPhoto[axis])),
    );
    faces.push({ score, box, landmarks });
  }
  return faces;
}

/** Those that stay when each suppresses less likely ones that overlap it. */
function withoutOverlaps(faces) {
  const kept = [];
  for (const face of faces) {
    const overlaps = kept.some((other) => {
      const shared = [0, 1].reduce((product, axis) => {
        const length = Math.min(face.box[2 + axis], other.box[2 + axis]) - Math.max(face.box[axis], other.box[axis]);
        return product * Math.max(length, 0);
      }, 1);
      return shared / (area(face) + area(other) - shared) > LARGEST_OVERLAP;
    });
    if (!overlaps) kept.push(face);
  }
  return kept;
}

/** The similarity transform that takes points nearest to others, in the least-squares sense (Umeyama, 1991). */
function similarity(source, target) {
  const middle = (points) => [0, 1].map((axis) => points.reduce((sum, point) => sum + point[axis], 0) / points.length);
  const [start, end] = [middle(source), middle(target)];
  let [real, imaginary, length] = [0, 0, 0];
  source.forEach((point, number) => {
    const [x, y] = [point[0] - start[0], point[1] - start[1]];
    const [u, v] = [target[number][0] - end[0], target[number][1] - end[1]];
    real += x * u + y * v;
    imaginary += x * v - y * u;
    length += x * x + y * y;
  });
  const [a, b] = [real / length, imaginary / length];
  return [
    [a, -b, end[0] - (a * start[0] - b * start[1])],
    [b, a, end[1] - (b * start[0] + a * start[1])],
  ];
}

/** Rounded, a half to the even neighbour, as Python does. */
function halfToEven(value) {
  const lower = Math.floor(value);
  if (value - lower !== 0.5) return Math.round(value);
  return lower % 2 ? lower + 1 : lower;
}
