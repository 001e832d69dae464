// Brings anywidget widgets to life in the book, where no kernel runs.
//
// A notebook stores for each widget its state, its JavaScript (_esm) and its style (_css). MyST-NB writes the state
// of the page into one script element and leaves another script element where each widget stood. This file gives the
// stored JavaScript the model that it expects. Whatever needs Python says so instead of staying silent.

const STATE = 'script[type="application/vnd.jupyter.widget-state+json"]';
const VIEW = 'script[type="application/vnd.jupyter.widget-view+json"]';

// The part of the anywidget model that works without a kernel.
function makeModel(stored) {
  const state = { ...stored.state };
  for (const { path, data } of stored.buffers ?? []) {  // binary values are stored apart, as base64
    const parent = path.slice(0, -1).reduce((value, key) => value[key], state);
    parent[path.at(-1)] = new DataView(Uint8Array.from(atob(data), (c) => c.charCodeAt(0)).buffer);
  }
  const listeners = [];
  const emit = (event, ...args) => listeners.filter((l) => l.event === event).forEach((l) => l.callback(...args));
  const model = {
    get: (key) => state[key],
    set(key, value) {
      if (state[key] === value) return;
      state[key] = value;
      emit(`change:${key}`, model, value);
      emit("change", model);
    },
    on: (event, callback) => void listeners.push({ event, callback }),
    off(event, callback) {  // without a callback: all of the event; without an event: all
      const kept = listeners.filter((l) => (event && l.event !== event) || (callback && l.callback !== callback));
      listeners.splice(0, listeners.length, ...kept);
    },
    save_changes() {},  // these two reach Python, and there is none: the widget keeps working on its own state
    send() {},
  };
  return model;
}

function element(tag, properties) {
  return Object.assign(document.createElement(tag), properties);
}

const forever = new AbortController().signal;  // widgets stay until the reader leaves the page
const styles = new Set();  // many widgets of one class share one style

// One model and one module for all views of a widget: what one view sets, the others show.
async function startWidget(stored) {
  const model = makeModel(stored);
  const css = stored.state._css;
  if (css && !styles.has(css)) document.head.append(element("style", { textContent: css }));
  styles.add(css);
  const url = URL.createObjectURL(new Blob([stored.state._esm], { type: "text/javascript" }));
  const { default: exported } = await import(url);
  const widget = typeof exported === "function" ? await exported() : exported;
  await widget.initialize?.({ model, signal: forever });
  return { model, widget };
}

function say(place, text) {
  const note = element("p", { className: "widget-note", textContent: text });
  const download = document.querySelector('a.btn-download-source-button[href$=".ipynb"]');  // the theme's own button
  if (download) {
    const link = element("a", { href: download.href, download: "", textContent: "Download this notebook" });
    note.append(" ", link, " and open it in JupyterLab.");
  }
  place.after(note);
}

async function showView(place, models, started) {
  const id = JSON.parse(place.textContent).model_id;
  const stored = models[id];
  if (!stored) return say(place, "The state of this widget was not stored in the notebook.");
  if (stored.model_module !== "anywidget") return say(place, "This control needs a running notebook.");
  const el = element("div", { className: "widget-live" });
  place.after(el);
  try {
    const { model, widget } = await (started[id] ??= startWidget(stored));
    await widget.render({ model, el, signal: forever });
    if (place.previousElementSibling?.matches(".widget-static")) place.previousElementSibling.remove();
  } catch (error) {
    console.error(error);
    el.remove();
    say(place, `This widget could not start here (${error.message}).`);
  }
}

addEventListener("DOMContentLoaded", () => {
  const models = JSON.parse(document.querySelector(STATE)?.textContent ?? "{}").state ?? {};
  const started = {};
  for (const place of document.querySelectorAll(VIEW)) showView(place, models, started);
});
