// Follows the start of a server on its page. The server has rendered the state at the time of the request.
"use strict";
(() => {
  const page = document.getElementById("research-pending");
  const headline = document.getElementById("research-headline");
  const state = document.getElementById("research-state");
  const notes = document.getElementById("research-notes");
  const log = document.getElementById("research-log");
  const { timeElement, shortDuration } = window.researchTimes;
  // The hub's clock and the browser's can differ.
  const clockOffset = Date.parse(page.dataset.now) - Date.now() || 0;
  // The texts in the language of the site.
  const texts = page.dataset;
  const RETRY_MILLISECONDS = 2000;
  const UNKNOWN_MILLISECONDS = 120000;
  let phases = [];
  let isLeaving = false;

  // A live region announces each assignment, so the same text is not assigned again.
  function setText(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }

  // Show a sentence with its times in the browser's time zone. Each text in `times` is in the sentence, in their order.
  function setHeadline(sentence, times) {
    if (headline.dataset.sentence === sentence) return;
    headline.dataset.sentence = sentence;
    const parts = [];
    let rest = sentence;
    for (const { text, at } of times) {
      const index = rest.indexOf(text);
      const element = timeElement(at, false);
      if (index < 0 || element === null) continue;
      parts.push(rest.slice(0, index), element);
      rest = rest.slice(index + text.length);
    }
    headline.replaceChildren(...parts, rest);
  }

  function reload() {
    if (isLeaving) return;
    isLeaving = true;
    source.close();
    window.location.reload();
  }

  // The hub does not know a named server any more when its start was cancelled. The page of the server leads on then.
  async function showFailure() {
    if (isLeaving) return;
    isLeaving = true;
    source.close();
    const response = await fetch(window.location.href, { cache: "no-store", redirect: "manual" }).catch(() => null);
    if (response !== null && response.status === 404) window.location.replace(page.dataset.serverUrl);
    else window.location.reload();
  }

  function showPhases() {
    for (const phase of phases) {
      const item = document.querySelector(`#research-phases [data-phase="${phase.name}"]`);
      if (item === null) continue;
      item.className = phase.state;
      if (phase.state === "current") item.setAttribute("aria-current", "step");
      else item.removeAttribute("aria-current");
      setText(item.querySelector(".research-done"), phase.state === "done" ? texts.textDone : "");
      showSince(item.querySelector(".since"), phase);
    }
  }

  function showSince(element, phase) {
    const time = timeElement(phase.begun, false);
    if (time === null) {
      element.replaceChildren();
      return;
    }
    const end = phase.ended ? Date.parse(phase.ended) : phase.state === "current" ? Date.now() + clockOffset : NaN;
    const duration = Number.isNaN(end) ? "" : shortDuration(end - Date.parse(phase.begun));
    const isCurrent = phase.state === "current";
    const text = duration ? (isCurrent ? texts.textSinceFor : texts.textTook) : isCurrent ? texts.textSince : "%(time)s";
    const [before, after] = text.replace("%(duration)s", duration).split("%(time)s");
    element.replaceChildren(before, time, after);
  }

  function addNote(text) {
    if ([...notes.children].some((note) => note.textContent === text)) return;
    const note = document.createElement("p");
    note.className = "research-note";
    note.setAttribute("role", "status");
    notes.append(note);
    note.textContent = text;
  }

  function addToLog(event) {
    const line = document.createElement("li");
    const time = timeElement(event.at, true);
    const raw = event.raw_event || {};
    const message = raw.message || event.message || "";
    // With a function, "$&" in the message means nothing.
    const told = raw.type === "Warning" ? texts.textWarning.replace("%(message)s", () => message) : message;
    line.append(time || "", time ? " " : "", told);
    log.append(line);
    setText(document.getElementById("research-log-count"), String(log.children.length));
  }

  const source = new EventSource(page.dataset.progressUrl);
  // Each connection of the stream begins with all events.
  source.onopen = () => log.replaceChildren();
  source.onmessage = (message) => {
    const event = JSON.parse(message.data);
    if (event.ready) {
      reload();
    } else if (event.failed) {
      showFailure();
    } else if (event.log_only) {
      addToLog(event);
    } else if (event.note) {
      addNote(event.message);
    } else if (event.message) {
      setHeadline(event.message, event.times || []);
    }
    if (event.phases) {
      phases = event.phases;
      // The page was loaded before the hub had decided what to start, and does not show it.
      if (!("decided" in page.dataset)) reload();
      setText(state, event.stage === "queued" ? texts.textWaiting : texts.textStarting);
      showPhases();
    }
  };

  // After a restart the hub answers nothing for some seconds, and then does not know for some more that it starts the
  // server. The EventSource does not retry then. A reload in that time would show an error page, from which nothing
  // leads back. A response of the hub has its version in a header; a response of the proxy does not.
  let unknownSince = null;
  async function reconnect() {
    if (isLeaving) return;
    try {
      const response = await fetch(window.location.href, { cache: "no-store", redirect: "manual" });
      const answers = response.type === "opaqueredirect" || response.headers.has("X-JupyterHub-Version");
      if (answers && response.status === 404) unknownSince = unknownSince || Date.now();
      const waits = response.status === 404 && Date.now() - unknownSince < UNKNOWN_MILLISECONDS;
      if (answers && !waits) {
        reload();
        return;
      }
    } catch {
      // The hub does not accept connections yet.
    }
    setTimeout(reconnect, RETRY_MILLISECONDS);
  }
  source.onerror = () => {
    if (isLeaving) return;
    setHeadline(texts.textUnreachable, []);
    // Otherwise the EventSource retries by itself.
    if (source.readyState === EventSource.CLOSED) setTimeout(reconnect, RETRY_MILLISECONDS);
  };

  // A reload while the form is sent would stop the request.
  document.addEventListener("submit", () => {
    isLeaving = true;
    source.close();
  });
  // The browser shows a page again after "back" as it was left.
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) window.location.reload();
  });
  setInterval(showPhases, 15000);
  window._jupyterhub_page_loaded = true;
})();
