// Random numbers of a fit: the same for the same seed. (Those of a release come from the device key: noise.js.)

/** xoshiro128** (Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2021). */
export class Random {
  constructor(...seeds) {
    let mixed = 0x9e3779b9;
    const next = () => {
      // splitmix32, from which the four words of the state come
      mixed = (mixed + 0x9e3779b9) | 0;
      let word = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad);
      word = Math.imul(word ^ (word >>> 15), 0x735a2d97);
      return (word ^ (word >>> 15)) >>> 0;
    };
    for (const seed of seeds) mixed = next() ^ (seed | 0);
    this.state = Uint32Array.from({ length: 4 }, next);
    this.spare = null;
  }

  /** 32 bits. */
  word() {
    const s = this.state;
    const turned = Math.imul(s[1], 5);
    const found = Math.imul((turned << 7) | (turned >>> 25), 9) >>> 0;
    const shifted = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = (s[3] << 11) | (s[3] >>> 21);
    return found;
  }

  /** In [0, 1). */
  uniform() {
    return this.word() * 2 ** -32;
  }

  /** A whole number in 0..count - 1. */
  below(count) {
    return Math.floor(this.uniform() * count);
  }

  /** From N(0, 1), by Box and Muller. */
  normal() {
    if (this.spare !== null) {
      const kept = this.spare;
      this.spare = null;
      return kept;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    const angle = 2 * Math.PI * this.uniform();
    this.spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }

  /** So many from N(0, 1). */
  normals(count) {
    const found = new Float32Array(count);
    for (let place = 0; place < count; place++) found[place] = this.normal();
    return found;
  }

  /** The numbers 0..count - 1 in some order. */
  permutation(count) {
    const order = Array.from({ length: count }, (_, place) => place);
    for (let place = count - 1; place > 0; place--) {
      const other = this.below(place + 1);
      [order[place], order[other]] = [order[other], order[place]];
    }
    return order;
  }
}
