// Keeps the page's own files, so that it works without a network; it fetches nothing else.

const VERSION = new URL(self.location).searchParams.get("version");

self.addEventListener("install", (event) => {
  const keep = async () => {
    const files = await (await fetch("files.json", { cache: "no-cache" })).json();
    const cache = await caches.open(VERSION);
    await cache.addAll(["./", "files.json", ...Object.keys(files)].map((path) => new Request(path, { cache: "no-cache" })));
    await self.skipWaiting();
  };
  event.waitUntil(keep());
});

self.addEventListener("activate", (event) => {
  const take = async () => {
    for (const name of await caches.keys()) if (name !== VERSION) await caches.delete(name);
    await self.clients.claim();
  };
  event.waitUntil(take());
});

self.addEventListener("fetch", (event) => {
  const answer = async () => {
    if (event.request.cache === "no-cache") return fetch(event.request).catch(() => caches.match(event.request)); // is there a newer page?
    return (await caches.match(event.request)) ?? fetch(event.request);
  };
  if (new URL(event.request.url).origin === self.location.origin) event.respondWith(answer());
});
