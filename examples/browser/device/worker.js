// Everything that touches a photo, beside the page so that it stays responsive. Nothing here asks the network for
// anything but the page's own files.

import * as ort from "../onnxruntime/ort.wasm.bundle.min.mjs";
import { Bundle } from "./bundle.js";
import { fit } from "./fitting/fit.js";
import { Privatizer } from "./privatizer.js";
import { Picture } from "./samples/images.js";
import { SIZE, faceIn } from "./samples/faces.js";
import { Store } from "./store.js";

const MOST_BYTES = 64e6;
const MOST_PIXELS = 50e6;

const site = new URL("../", import.meta.url);
const faces = [];
let bundle, store, privatizer;

async function read(path) {
  const response = await fetch(new URL(path, site));
  if (!response.ok) throw new Error(`${path} cannot be loaded: load the page again`);
  return response.arrayBuffer();
}

const calls = {
  /** Loads all that the page needs; gives the labels that can be chosen. */
  async open() {
    if (!globalThis.crypto?.subtle) throw new Error("This page needs https, or localhost: without it there is no key.");
    ort.env.wasm.numThreads = 1; // more would need headers that a plain web server does not send
    ort.env.wasm.wasmBinary = await read("onnxruntime/ort-wasm-simd-threaded.wasm");
    bundle = await Bundle.open(ort, read);
    store = await Store.open();
    return { attributes: bundle.attributes.map(({ name }) => name), terms: bundle.terms };
  },

  /** Finds the largest face of a photo, a Blob; gives a number for it and a picture of it. */
  async face(photo) {
    const sample = await faceIn(bundle.graphs, await decoded(photo));
    faces.push(sample.data);
    return { number: faces.length - 1, picture: await png(sample.data) };
  },

  /** Fits a filter that hides some attributes and keeps others, by name; gives what fresh attackers found. */
  async fit(hidden, kept) {
    const numbers = (names) => names.map((name) => bundle.attributes.findIndex((attribute) => attribute.name === name));
    const found = await fit(bundle, numbers(hidden), numbers(kept), 0, (stage, done) => postMessage({ stage, done }));
    privatizer = await Privatizer.of(bundle, found, 0);
    return found.found;
  },

  /** The release of a face by its number, as a picture. */
  async release(number, insist) {
    const [key, sample] = [store.key, faces[number]];
    // The disk is waited for while the release is made; without its word nothing goes out.
    const noted = store.note(sample, bundle.shape, privatizer.digest, insist);
    const [released] = await Promise.all([privatizer.release(sample, key), noted]);
    if (!released) throw new Error("What came out is the original or close to it: it is kept back.");
    return png(released);
  },

  /** The privatizer's file. */
  file: () => privatizer.file(),
};

/** The pixels of a photo, upright, what is transparent laid over white. */
async function decoded(photo) {
  if (photo.size > MOST_BYTES) throw new Error(`It has ${Math.round(photo.size / 1e6)} MB, at most 64 are read. Save it smaller.`);
  let bitmap;
  try {
    bitmap = await createImageBitmap(photo, { colorSpaceConversion: "none", imageOrientation: "from-image" });
  } catch {
    throw new Error("This is no image that the browser can read, or a damaged one. Save the photo as JPEG or PNG.");
  }
  const { width, height } = bitmap;
  if (width * height > MOST_PIXELS) throw new Error("It has more than 50 million pixels. Save it smaller.");
  const canvas = new OffscreenCanvas(width, height);
  const drawing = canvas.getContext("2d");
  drawing.fillStyle = "white";
  drawing.fillRect(0, 0, width, height);
  drawing.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = drawing.getImageData(0, 0, width, height);
  const picture = new Picture(width, height);
  for (let pixel = 0; pixel < width * height; pixel++) {
    for (let channel = 0; channel < 3; channel++) picture.data[3 * pixel + channel] = data[4 * pixel + channel];
  }
  return picture;
}

/** A sample as a PNG file of fresh pixels and nothing else. */
async function png(sample) {
  const canvas = new OffscreenCanvas(SIZE, SIZE);
  const image = new ImageData(SIZE, SIZE);
  for (let pixel = 0; pixel < SIZE * SIZE; pixel++) {
    image.data.set([sample[3 * pixel], sample[3 * pixel + 1], sample[3 * pixel + 2], 255], 4 * pixel);
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}

onmessage = async ({ data: { id, call, inputs } }) => {
  try {
    postMessage({ id, result: await calls[call](...inputs) });
  } catch (error) {
    postMessage({ id, error: error.message });
  }
};
postMessage({ ready: true });
