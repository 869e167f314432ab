// A fitted filter with its bundle: releases samples, and is written as the file that privsdk reads.

import { Matrix } from "./matrix.js";
import { normals, sampleDigest, seedFor, uniforms } from "./noise.js";
import { Real, digest, pack } from "./safetensors.js";

const SCHEMA = 3;
const DRAWS = 8; // how often other random numbers are tried for a sample that is kept back
const CLOSEST = 2; // grey levels on average: what differs less counts as the original

export class Privatizer {
  /** Of what `fit` gives. */
  static async of(bundle, { filter, wish, found, fairness }, seed) {
    const privatizer = Object.assign(new Privatizer(), { bundle, filter, wish, found });
    const settings = { private: wish.private.length, a: new Real(1), rho: new Real(1) };
    privatizer.arrays = filter.arrays();
    privatizer.digest = await digest(privatizer.arrays, { bundle: bundle.digest, kind: "flow", settings });
    privatizer.content = {
      schema: SCHEMA,
      bundle: { name: bundle.name, digest: bundle.digest },
      filter: { kind: "flow", settings },
      record: record(bundle, wish, found, fairness, seed),
    };
    return privatizer;
  }

  /** The file, for privsdk to open. */
  async file() {
    const content = { ...this.content, digest: await digest(this.arrays, this.content) };
    return pack(this.arrays, content);
  }

  /** The release of one sample, uint8, by the device's key; null where none came out that is far enough from it. */
  async release(sample, key) {
    const { mean, variance } = await this.bundle.encode(sample);
    const origin = await sampleDigest(key, sample, this.bundle.shape);
    for (let draw = 1; draw <= DRAWS; draw++) {
      const seed = await seedFor(key, origin, `release by ${this.digest}, draw ${draw}`);
      const { z } = await this.filter.perturbed(mean, variance, await this.draws(seed));
      if (!z.data.every(Number.isFinite) || z.data.every((value, place) => value === mean.data[place])) return null;
      const released = await this.bundle.decode(z);
      const apart = released.reduce((sum, value, place) => sum + Math.abs(value - sample[place]), 0) / sample.length;
      if (apart >= CLOSEST) return released;
    }
    return null;
  }

  async draws(seed) {
    const { filter } = this;
    const normal = async (count, purpose) => new Matrix(1, count, count ? await normals(seed, count, purpose) : new Float32Array(0));
    const uniform = async (count, purpose) => new Matrix(1, count, await uniforms(seed, count, purpose));
    return {
      posterior: await normal(this.bundle.public.mean.columns, "posterior"),
      score: await normal(filter.scores.count, "score"),
      unused: await normal(filter.flow.unused.length, "unused"),
      fair: await uniform(filter.fairScore.tables.length, "fair score"),
      draw: await uniform(1, "draw"),
    };
  }
}

function record(bundle, wish, found, fairness, seed) {
  const reals = (values) =>
    Object.fromEntries(
      Object.entries(values).map(([name, value]) => {
        if (typeof value === "number") return [name, new Real(value)];
        return [name, typeof value === "string" ? value : reals(value)];
      }),
    );
  const calibration = [...wish.private, ...wish.utility].map((name) => {
    const { calibration_error: error } = bundle.attributes.find((attribute) => attribute.name === name);
    return [name, { error: new Real(error), measured_on: "the bundle's held-out samples" }];
  });
  return {
    method: "flow",
    private: wish.private,
    utility: wish.utility,
    own_labels: [],
    label_aware: false,
    settings: {
      fairness: new Real(fairness), a: new Real(1), rho: new Real(1), budget: null, engine: "page", max_leakage: null,
      fit_on: "both", seed,
    },
    check: {
      measured_on: "public latents",
      latents: found.latents,
      ...reals({ private: found.private, utility: found.utility, code: found.code }),
      calibration: Object.fromEntries(calibration),
      warnings: [],
    },
  };
}
