// What stays on the device between visits: the key that all random choices come from, which no script can read, and
// a keyed note of what was released by which filter.

import { sampleDigest } from "./noise.js";
import { hexadecimal } from "./safetensors.js";

const asked = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(new Error("This browser lets the page keep nothing, and without a key nothing is released."));
  });

export class Store {
  static async open() {
    const request = indexedDB.open("privsdk", 1);
    request.onupgradeneeded = () => ["keys", "ledger"].forEach((name) => request.result.createObjectStore(name));
    const store = new Store();
    store.database = await asked(request);
    store.key = await store.get("keys", "device");
    if (!store.key) {
      const fresh = await crypto.subtle.generateKey({ name: "HMAC", hash: "SHA-256", length: 256 }, false, ["sign"]);
      await store.put("keys", "device", fresh);
      store.key = await store.get("keys", "device"); // if another tab was faster, it is that one's
    }
    return store;
  }

  get(name, entry) {
    return asked(this.database.transaction(name).objectStore(name).get(entry));
  }

  /** Keeps an entry, if there is none yet. */
  async put(name, entry, value) {
    const transaction = this.database.transaction(name, "readwrite", { durability: "strict" });
    const objects = transaction.objectStore(name);
    if ((await asked(objects.getKey(entry))) === undefined) await asked(objects.put(value, entry));
  }

  /**
   * Notes that a sample is released by a filter. Throws where another filter has released it, unless insisted: two
   * releases of one photo by two filters tell more than either.
   */
  async note(sample, shape, filter, insist) {
    const hmac = async (text) => hexadecimal(await crypto.subtle.sign("HMAC", this.key, new TextEncoder().encode(text)));
    const entry = hexadecimal(await sampleDigest(this.key, sample, shape));
    const by = await hmac(`ledger:${entry}:${filter}`);
    await this.put("ledger", entry, by);
    if ((await this.get("ledger", entry)) !== by && !insist) {
      throw new Error("It was released by another filter before, and the two together tell more than either.");
    }
  }
}
