// Improves the options form. Without this file the form has the same fields and starts the same servers.
"use strict";
(() => {
  const form = document.querySelector(".research-form")?.closest("form");
  if (!form) { return; }
  const offers = [...form.querySelectorAll(".research-offer")];
  const chosenOffer = () => offers.find((offer) => offer.querySelector("input[name=offer]").checked);

  // "You will run as" follows the selected offer: its facts, and what is selected and written in it.
  const choice = form.querySelector("#research-selected");
  function showChoice() {
    const offer = chosenOffer();
    choice.replaceChildren();
    choice.hidden = !offer;
    if (!offer) { return; }
    const title = document.createElement("h3");
    title.textContent = offer.querySelector(".title").textContent;
    const facts = offer.querySelector(".research-facts").cloneNode(true);
    facts.classList.remove("wide");
    // What a queue and an image mean is at their fields.
    const muted = (text) => Object.assign(document.createElement("span"), { className: "muted", textContent: text });
    const short = (title, text) => text ? [title, " ", muted(text)] : [title];
    for (const fact of facts.querySelectorAll("[data-short]")) {
      fact.replaceChildren(...short(fact.firstChild.textContent.trim(), fact.dataset.short));
    }
    for (const checked of [...offer.querySelectorAll(".research-choice input:checked")].reverse()) {
      const row = checked.parentElement;
      const name = document.createElement("dt");
      name.textContent = row.closest("fieldset").querySelector("legend").textContent;
      const text = document.createElement("dd");
      text.append(...short(row.querySelector("label").textContent, row.dataset.short || ""));
      facts.prepend(name, text);
    }
    const ends = facts.querySelector("[data-seconds]");
    // Only the default is known to be shorter than the longest wall time.
    const wall = offer.querySelector("input[name^=wall_time--]");
    const lasts = [document.createElement("dt"), document.createElement("dd")];
    lasts[0].textContent = wall.labels[0].textContent;
    lasts[1].append(...short(wall.value.trim() || wall.placeholder, wall.value.trim() ? "" : wall.dataset.textShort));
    ends.previousElementSibling.before(...lasts);
    const latest = new Date(Date.now() + 1000 * ends.dataset.seconds);
    const day = { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" };
    ends.textContent = ends.dataset.textEnds.replace("%(time)s", latest.toLocaleString("en-GB", day));
    choice.append(title, facts);
  }
  const read = form.querySelector(".research-read time");
  if (read) { read.textContent = new Date(read.dateTime).toLocaleTimeString("en-GB"); }
  form.addEventListener("input", showChoice);
  form.classList.add("research-scripted");
  showChoice();

  // The search box.
  const box = form.querySelector(".research-search");
  if (box) {
    box.hidden = false;
    const input = box.querySelector("input");
    const found = form.querySelector("#research-found");
    const search = () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let count = 0;
      for (const offer of offers) {
        const text = offer.dataset.search.toLowerCase();
        const matches = words.every((word) => text.includes(word));
        // What Start would start stays visible.
        offer.hidden = !matches && offer !== chosenOffer();
        count += matches ? 1 : 0;
      }
      for (const group of form.querySelectorAll(".research-group")) {
        group.hidden = !group.querySelector(".research-offer:not([hidden])");
      }
      const text = found.dataset.textFound.replace("%(count)s", count).replace("%(total)s", offers.length);
      found.textContent = words.length ? text : "";
    };
    input.addEventListener("input", search);
    // Enter searches. It must not start the selected offer.
    input.addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); } });
    search();
  }

  // The address of the page with the pod needs only the fields of the selected offer.
  function podAddress(button) {
    const address = new URL(button.formAction);
    const offer = chosenOffer();
    if (!offer) { return address; }
    const value = offer.querySelector("input[name=offer]").value;
    address.searchParams.set("offer", value);
    for (const [name, text] of new FormData(form)) {
      if (name.endsWith(`--${value}`) && !name.startsWith("shown--") && text) { address.searchParams.set(name, text); }
    }
    return address;
  }

  // One click starts one server.
  let isSent = false;
  form.addEventListener("submit", (event) => {
    if (event.submitter?.id === "research-pod") {
      event.preventDefault();
      window.location = podAddress(event.submitter);
      return;
    }
    if (isSent) { event.preventDefault(); return; }
    isSent = true;
    const button = event.submitter;
    if (button && "busy" in button.dataset) { button.classList.add("research-busy"); button.setAttribute("aria-disabled", "true"); }
  });
  window.addEventListener("pageshow", (event) => {
    if (!event.persisted) { return; }
    isSent = false;
    for (const button of form.querySelectorAll(".research-busy")) {
      button.classList.remove("research-busy");
      button.removeAttribute("aria-disabled");
    }
  });
})();
