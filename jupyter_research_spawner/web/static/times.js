// Shows times in the browser's time zone. Without JavaScript they are in the site's.
"use strict";
(() => {
  const sameDay = (one, other) => one.toDateString() === other.toDateString();

  // Return the time of day, with the date if it is not today's.
  function shortTime(date, withSeconds) {
    const options = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
    if (withSeconds) options.second = "2-digit";
    if (!sameDay(date, new Date())) Object.assign(options, { day: "numeric", month: "short" });
    return new Intl.DateTimeFormat(undefined, options).format(date);
  }

  // Return the time element for an RFC 3339 time; null if it is not a valid time.
  function timeElement(written, withSeconds) {
    const date = new Date(written);
    if (!written || Number.isNaN(date.getTime())) return null;
    const element = document.createElement("time");
    element.className = "research-time";
    element.dateTime = written;
    show(element, date, withSeconds);
    return element;
  }

  function show(element, date, withSeconds) {
    element.textContent = shortTime(date, withSeconds);
    element.title = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" }).format(date);
  }

  // Return a duration in its two largest units: "7 h 12 min". "" below one minute.
  function shortDuration(milliseconds) {
    let minutes = Math.floor(milliseconds / 60000);
    if (minutes < 1) return "";
    const parts = [];
    for (const [unit, size] of [["d", 1440], ["h", 60], ["min", 1]]) {
      const number = Math.floor(minutes / size);
      minutes %= size;
      if (number || parts.length) parts.push(number ? `${number} ${unit}` : "");
    }
    return parts.slice(0, 2).filter(Boolean).join(" ");
  }

  for (const element of document.querySelectorAll("time.research-time")) {
    const date = new Date(element.dateTime);
    if (!Number.isNaN(date.getTime())) show(element, date, "seconds" in element.dataset);
  }
  window.researchTimes = { timeElement, shortDuration };
})();
