"use strict";
// Updates the parts of the pages "My work" and of a job while they are open. Without it the pages are complete, and the
// link Reload updates them.

(() => {
  // Without this header, the service does not accept the cookie of a request that is not a navigation.
  const headers = { "X-XSRFToken": document.getElementById("content").dataset.xsrf || "" };
  const FIRST_PAUSE = 2000;
  const LONGEST_PAUSE = 60000;
  const OUTPUT_LIMIT = 1000000;
  const pause = (time) => new Promise((resolve) => setTimeout(resolve, time));

  // The time of what runs or waits, counted here so that it needs no request.
  const twoDigits = (number) => String(number).padStart(2, "0");
  const clock = (seconds) => {
    const days = Math.floor(seconds / 86400);
    const hours = Math.floor(seconds / 3600) % 24;
    const rest = `${twoDigits(Math.floor(seconds / 60) % 60)}:${twoDigits(seconds % 60)}`;
    return days ? `${days}d ${twoDigits(hours)}:${rest}` : `${hours}:${rest}`;
  };
  const tick = () => {
    for (const cell of document.querySelectorAll("[data-since]")) {
      const text = clock(Math.max(0, Math.floor(Date.now() / 1000) - Number(cell.dataset.since)));
      if (cell.textContent !== text) cell.textContent = text;
    }
  };

  const live = document.querySelector("[data-live]");
  const announcement = document.querySelector("[data-announce]");
  const streamed = document.querySelector("[data-events]");

  // What has changed its state, for a screen reader.
  const states = (root) => {
    const found = new Map();
    for (const item of root.querySelectorAll("[data-state]")) {
      const word = item.querySelector(".research-state");
      const name = item.dataset.name || root.dataset.name;
      if (name && word) found.set(name, word.textContent.trim());
    }
    return found;
  };

  const replaceRows = (before, after) => {
    // Rows that have not changed stay, so that the focus and a selection of text stay too.
    const known = new Map([...before.rows].map((row) => [row.dataset.key, row]));
    const wanted = [...after.rows].map((row) => {
      const old = known.get(row.dataset.key);
      if (!old) return row;
      if (source.get(old) === row.outerHTML) return old;
      source.set(row, row.outerHTML);
      const isFocused = old.contains(document.activeElement);
      old.replaceWith(row);
      if (isFocused) row.querySelector("a")?.focus();
      return row;
    });
    for (const row of wanted) if (!source.has(row)) source.set(row, row.outerHTML);
    for (const row of known.values()) if (!wanted.includes(row)) row.remove();
    wanted.forEach((row, position) => {
      if (before.rows[position] !== row) before.insertBefore(row, before.rows[position] || null);
    });
  };
  // The HTML of each row as it came, because the script changes the times in it.
  const source = new WeakMap();
  const sources = new Map();
  for (const row of document.querySelectorAll("tr[data-key]")) source.set(row, row.outerHTML);

  const update = (parts) => {
    for (const [name, html] of Object.entries(parts)) {
      const part = document.querySelector(`[data-part="${name}"]`);
      if (!part || sources.get(name) === html) continue;
      sources.set(name, html);
      const before = states(part);
      const template = document.createElement("template");
      template.innerHTML = html;
      const [oldBody, newBody] = [part.querySelector("tbody"), template.content.querySelector("tbody")];
      if (oldBody && newBody) {
        replaceRows(oldBody, newBody);
        const pages = [part, template.content].map((root) => root.querySelector("nav, .research-counts"));
        if (pages[0] && pages[1] && !pages[0].contains(document.activeElement)) pages[0].replaceWith(pages[1]);
      } else if (!part.contains(document.activeElement) || part.querySelectorAll("a, button").length === 0) {
        part.replaceChildren(template.content);
      } else {
        sources.delete(name); // later, when the focus is elsewhere
      }
      const after = states(part);
      const changes = [...after].filter(([key, word]) => before.has(key) && before.get(key) !== word);
      if (changes.length > 3) announcement.textContent = announcement.dataset.textMany;
      else if (changes.length) announcement.textContent = changes.map((change) => change.join(": ")).join(". ") + ".";
    }
    tick();
  };

  // Server-sent events by fetch, because EventSource cannot send the header. Returns whether the stream was replaced.
  const readEvents = async (response) => {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return false;
      text += value;
      const messages = text.split("\n\n");
      text = messages.pop();
      for (const message of messages) {
        if (message.startsWith("event: replaced")) return true;
        const line = message.split("\n").find((found) => found.startsWith("data: "));
        if (line) update(JSON.parse(line.slice("data: ".length)));
      }
    }
  };

  // A page in a hidden tab has no stream, because the streams of a user are limited.
  const tabSwitch = () =>
    new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));

  const follow = async () => {
    let wait = FIRST_PAUSE;
    for (;;) {
      while (document.hidden) await tabSwitch();
      const hidden = new AbortController();
      const abort = () => document.hidden && hidden.abort();
      document.addEventListener("visibilitychange", abort);
      try {
        const response = await fetch(streamed.dataset.events, { headers, cache: "no-store", signal: hidden.signal });
        if (response.status === 404 || response.status === 401) {
          live.textContent = response.status === 404 ? live.dataset.textRemoved : live.dataset.textLoggedOut;
          return;
        }
        if (!response.ok) throw new Error(String(response.status));
        live.textContent = live.dataset.textLive;
        wait = FIRST_PAUSE;
        if (await readEvents(response)) {
          live.textContent = live.dataset.textReplaced;
          await tabSwitch();
          continue;
        }
      } catch {
        if (!hidden.signal.aborted) {
          live.textContent = live.dataset.textNotLive;
          wait = Math.min(wait * 2, LONGEST_PAUSE);
        }
      } finally {
        document.removeEventListener("visibilitychange", abort);
      }
      if (!hidden.signal.aborted) await pause(wait);
    }
  };

  // The output of a job as it comes.
  const plain = (text) =>
    text
      .replace(/\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])/g, "")
      .replaceAll("\r\n", "\n")
      .split("\n")
      .map((line) => line.replace(/\r+$/, "").split("\r").pop())
      .join("\n");

  const followOutput = async (output) => {
    const note = document.querySelector("[data-log-note]");
    const address = `${output.dataset.log}&follow=true&tail=500`;
    for (let wait = FIRST_PAUSE; ; wait = Math.min(wait * 2, LONGEST_PAUSE)) {
      try {
        const response = await fetch(address, { headers, cache: "no-store" });
        if (!response.ok) return;
        const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
        let text = "";
        for (;;) {
          const { done, value } = await reader.read();
          if (done) break;
          text = (text + value).slice(-OUTPUT_LIMIT);
          if (!text) continue;
          const isAtEnd = output.scrollTop + output.clientHeight >= output.scrollHeight - 8;
          output.textContent = plain(text);
          note.textContent = "";
          if (isAtEnd) output.scrollTop = output.scrollHeight;
          wait = FIRST_PAUSE;
        }
      } catch {
        // It is tried again.
      }
      const state = document.querySelector(".research-lead[data-state]")?.dataset.state;
      if (state === "succeeded" || state === "failed") return;
      await pause(wait);
      while (document.hidden) await tabSwitch();
    }
  };

  setInterval(tick, 1000);
  if (streamed && live && window.TextDecoderStream) follow();
  const output = document.querySelector("[data-log]");
  if (output) {
    output.scrollTop = output.scrollHeight;
    const state = document.querySelector(".research-lead[data-state]")?.dataset.state;
    if (output.dataset.log && state !== "succeeded" && state !== "failed" && window.TextDecoderStream) {
      followOutput(output);
    }
  }
})();
