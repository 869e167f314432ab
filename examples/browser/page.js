// The page: photos and labels in, a filter fitted, releases out. What touches a photo runs in a worker (device/).

const MOST_LABELS = 3;
const STAGES = {
  latents: "Taking public latents",
  codes: "Learning codes",
  flow: "Training the couplings",
  "fair score": "Making the kept label fair",
  check: "Training attackers to check it",
};

const the = (id) => document.getElementById(id);
const element = (name, properties = {}, ...children) => {
  const found = Object.assign(document.createElement(name), properties);
  found.append(...children);
  return found;
};
const inWords = (name) => name.replaceAll("_", " ");
const folded = (name) => name.toLowerCase().replace(/[\s_]+/g, "");
const percent = (share) => `${(100 * share).toFixed(1)}%`;

// A worker with an address of its own would have no policy; one from a blob has the page's.
const start = new Blob([`import ${JSON.stringify(new URL("device/worker.js", location.href).href)};`], { type: "text/javascript" });
const worker = new Worker(URL.createObjectURL(start), { type: "module" });
const waiting = new Map();
let asked = 0;
let opened;
const ready = new Promise((resolve) => (opened = resolve));

worker.onmessage = ({ data: { id, result, error, stage, done, ready: isReady } }) => {
  if (isReady) return opened();
  if (stage) return say(`${STAGES[stage]}…`, done);
  const { resolve, reject } = waiting.get(id);
  waiting.delete(id);
  if (error === undefined) resolve(result);
  else reject(new Error(error));
};
worker.onerror = () => say("This browser cannot run the page: it needs modules in workers and WebAssembly.", null);

async function ask(call, ...inputs) {
  await ready;
  return new Promise((resolve, reject) => {
    const id = (asked += 1);
    waiting.set(id, { resolve, reject });
    worker.postMessage({ id, call, inputs });
  });
}

/** Says what is going on; `done` is how much of it, null where nothing is. */
function say(text, done = undefined) {
  if (the("status").textContent !== text) the("status").textContent = text;
  the("progress").hidden = done === null;
  if (done === undefined) the("progress").removeAttribute("value");
  else if (done !== null) the("progress").value = done;
}

// ------------------------------------------------------------------------------------------------------------ photos

const faces = [];

async function take(files) {
  busy(true);
  for (const [place, file] of [...files].entries()) {
    say(`Looking for a face in ${file.name}…`, place / files.length);
    try {
      const { number, picture } = await ask("face", file);
      const address = URL.createObjectURL(picture);
      faces.push({ number, name: file.name, address });
      the("faces").append(element("li", {}, element("img", { src: address, alt: `Face in ${file.name}` })));
    } catch (error) {
      the("refused").append(element("li", { textContent: `${file.name}: ${error.message}` }));
    }
  }
  say(`${faces.length} ${faces.length === 1 ? "face" : "faces"} found.`, null);
  busy(false);
}

the("photos").onchange = ({ target }) => {
  const files = [...target.files];
  target.value = ""; // the same photos can be chosen once more
  take(files);
};
the("drop").ondragover = (event) => {
  event.preventDefault();
  the("drop").classList.add("over");
};
the("drop").ondragleave = () => the("drop").classList.remove("over");
the("drop").ondrop = (event) => {
  event.preventDefault();
  the("drop").classList.remove("over");
  if (!the("photos").disabled) take(event.dataTransfer.files);
};

// ------------------------------------------------------------------------------------------------------------ labels

let attributes = [];
const wish = { hide: [], keep: [] };
const lists = { hide: "hidden", keep: "kept" };

function choose(part) {
  const input = the(part);
  if (!input.value.trim()) return;
  const name = attributes.find((attribute) => folded(attribute) === folded(input.value));
  const other = part === "hide" ? "keep" : "hide";
  let wrong = "";
  if (!name) wrong = `There is no label called ${input.value}: choose one of the list.`;
  else if (wish[part].includes(name)) wrong = `${inWords(name)} is among them already.`;
  else if (wish[other].includes(name)) wrong = `${inWords(name)} cannot be hidden and kept at once.`;
  else if (wish[part].length === MOST_LABELS) wrong = `At most ${MOST_LABELS} labels.`;
  the("wish-error").textContent = wrong;
  if (wrong) return;
  wish[part].push(name);
  input.value = "";
  show(part);
  say(`${inWords(name)} will be ${lists[part]}.`, null);
}

function show(part) {
  const entries = wish[part].map((name) => {
    const remove = element("button", { type: "button", textContent: `${inWords(name)} ×` });
    remove.setAttribute("aria-label", `Take ${inWords(name)} away`);
    remove.onclick = () => {
      wish[part] = wish[part].filter((other) => other !== name);
      show(part);
      say(`${inWords(name)} will not be ${lists[part]}.`, null);
      the(part).focus();
    };
    return element("li", {}, remove);
  });
  the(lists[part]).replaceChildren(...entries);
  the("result").hidden = true; // it is of another wish
  the("fit").disabled = !(wish.hide.length && wish.keep.length);
}

for (const part of ["hide", "keep"]) the(part).onchange = () => choose(part);
the("wish").onsubmit = (event) => event.preventDefault();

// --------------------------------------------------------------------------------------------------- filter, releases

the("fit").onclick = async () => {
  busy(true);
  the("result").hidden = true;
  the("releases").replaceChildren();
  try {
    const began = performance.now();
    const found = await ask("fit", wish.hide, wish.keep);
    the("found").replaceChildren(...sentences(found).map((textContent) => element("li", { textContent })));
    the("checked").textContent = `Measured by attackers trained just now on releases of ${found.latents} invented people.`;
    the("privatizer").href = URL.createObjectURL(await ask("file"));
    the("result").hidden = false;
    say(`Fitted in ${((performance.now() - began) / 1000).toFixed(0)} s.`, null);
    the("found-heading").focus();
  } catch (error) {
    say(error.message, null);
  }
  busy(false);
};

/** What attackers found, one sentence for each label. */
function sentences(found) {
  const hidden = Object.entries(found.private).map(([name, { leakage, accuracy, base_rate: base, gap }]) => {
    const told = leakage < 0.55 ? "is hardly told" : leakage < 0.65 ? "is told a little" : leakage < 0.8 ? "is told" : "is told well";
    return (
      `${inWords(name)} ${told}: of two people, one of each kind, an attacker names the right one in ` +
      `${(100 * leakage).toFixed(0)} of 100 cases (by chance 50), of photos of real people up to ${(100 * gap).toFixed(0)} more. ` +
      `Its guess is right for ${percent(accuracy)}; always naming the commoner kind is for ${percent(base)}.`
    );
  });
  const kept = Object.entries(found.utility).map(([name, { accuracy, accuracy_unfiltered: before }]) => {
    return `${inWords(name)} is kept: named rightly for ${percent(accuracy)}, without the filter for ${percent(before)}.`;
  });
  return [...hidden, ...kept];
}

the("release").onclick = async () => {
  busy(true);
  const rows = [];
  for (const [place, { number, name, address }] of faces.entries()) {
    say(`Releasing ${place + 1} of ${faces.length}…`, place / faces.length);
    const before = element("td", {}, element("img", { src: address, alt: `${name} before` }));
    try {
      const released = URL.createObjectURL(await ask("release", number, the("insist").checked));
      // Neither the photo's name nor its place among the others goes out with it.
      const file = element("a", { href: released, download: `${crypto.randomUUID()}.png`, textContent: "Download" });
      file.setAttribute("aria-label", `Download the release of ${name}`);
      const after = element("td", {}, element("img", { src: released, alt: `${name} after` }));
      rows.push(element("tr", {}, before, after, element("td", {}, file)));
    } catch (error) {
      rows.push(element("tr", {}, before, element("td", { colSpan: 2, className: "kept-back", textContent: error.message })));
    }
  }
  the("releases").replaceChildren(...rows);
  say(`${the("releases").querySelectorAll("a").length} of ${faces.length} released.`, null);
  busy(false);
};

let focused = document.body;

function busy(is) {
  if (is) focused = document.activeElement;
  for (const id of ["photos", "hide", "keep", "fit", "release"]) the(id).disabled = is;
  // Nor may the wish become another while a filter is fitted for this one.
  for (const chip of document.querySelectorAll(".chosen button")) chip.disabled = is;
  if (!is) {
    the("fit").disabled = !(wish.hide.length && wish.keep.length);
    the("release").disabled = !faces.length;
    // What was disabled has lost the focus, and the keyboard its place.
    if (document.activeElement === document.body) focused.focus({ preventScroll: true });
  }
}

// -------------------------------------------------------------------------------------------------------------- start

/** Keeps the page's files in the browser: anew where one of them has changed. */
async function keepForOffline() {
  if (!navigator.serviceWorker) throw new Error("there are no service workers");
  if (!navigator.serviceWorker.controller || navigator.onLine) {
    const files = await (await fetch("files.json", { cache: "no-cache" })).arrayBuffer();
    const version = new Uint32Array(await crypto.subtle.digest("SHA-256", files))[0];
    await navigator.serviceWorker.register(`offline.js?version=${version}`);
  }
  await navigator.serviceWorker.ready;
  the("offline").textContent = "It works without a network from now on.";
}

try {
  const page = await ask("open");
  attributes = page.attributes;
  the("attributes").append(...attributes.map((name) => element("option", { value: inWords(name) })));
  the("terms").textContent = `The encoder's terms: ${page.terms}.`;
  say("Ready.", null);
  busy(false);
} catch (error) {
  say(error.message, null);
}
keepForOffline().catch(() => (the("offline").textContent = "It cannot be kept for use without a network here."));
