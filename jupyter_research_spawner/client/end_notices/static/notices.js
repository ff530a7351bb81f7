// Tells the user of JupyterLab before the wall time of the server ends.
//
// The hub writes the end of the server into an annotation of its pod, which the pod has as a file in a directory for
// JupyterLab's page configuration.  JupyterLab puts that file into the data of its page, which only the user of this
// server gets.  This extension reads the page again before each notice, because the user can extend the wall time.
//
// The file is a prebuilt extension as it is (module federation: `init` and `get`, webpack.js.org/concepts/
// module-federation).  It shares no module with JupyterLab, and uses only its commands for notifications, which exist
// since JupyterLab 4.0.  Where they do not exist, it does nothing.
(function () {
  'use strict';

  const NAME = 'research-end-notices';
  const EXTEND = `${NAME}:extend`;
  const GO_TO_HUB = `${NAME}:go-to-hub`;
  const NOTIFY = 'apputils:notify';
  const DISMISS = 'apputils:dismiss-notification';
  const MINUTE = 60000;
  const LONGEST_TIMER = 2 ** 31 - 1; // milliseconds: a longer timer would run at once
  const FIRST_READS = 3; // a minute apart, if the page does not know the end of the server yet

  // Returns the end of the server from the data of a page; null if it is not there.  All times are in milliseconds.
  function endIn(data) {
    const ends = data.ends_at_seconds;
    if (!Number.isFinite(ends) || !Array.isArray(data.notices_seconds)) {
      return null;
    }
    const latest = Number.isFinite(data.hard_ends_at_seconds) ? data.hard_ends_at_seconds : ends;
    return {
      ends: ends * 1000,
      latest: latest * 1000,
      notices: data.notices_seconds.filter(Number.isFinite).map(seconds => seconds * 1000),
      // The path of the hub's page, while the server can be extended.
      extendPath: String(data.extend_path || '').startsWith('/') ? data.extend_path : null
    };
  }

  // Returns how long before the end the latest notice is due: 0 from the end on; null before the first notice.
  function dueNotice(end, now) {
    const due = [...end.notices, 0].filter(notice => end.ends - notice <= now);
    return due.length ? Math.min(...due) : null;
  }

  // Returns the milliseconds until the next notice or the end; null after the end.
  function untilNext(end, now) {
    const coming = [...end.notices, 0].map(notice => end.ends - notice - now).filter(time => time > 0);
    return coming.length ? Math.min(...coming) : null;
  }

  // Returns a time as the browser's user writes it, with the day if it is not today.
  function written(time, now) {
    const date = new Date(time);
    const clock = date.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
    const day = date.toLocaleDateString([], { weekday: 'short', day: 'numeric', month: 'short' });
    return date.toDateString() === new Date(now).toDateString() ? clock : `${clock} on ${day}`;
  }

  // Returns the arguments of JupyterLab's command for a notification.  It shows 140 characters of a message.
  function notification(end, due, now) {
    if (due === 0) {
      return {
        message: `The wall time of this server ended at ${written(end.ends, now)}. Your files are kept. You can start a new server on the hub.`,
        type: 'error',
        options: {
          autoClose: false,
          actions: [{ label: 'Hub', caption: 'Open the home page of the hub', commandId: GO_TO_HUB, displayType: 'link' }]
        }
      };
    }
    const extend = {
      label: 'Extend …',
      caption: `Open the page where you can extend the wall time, up to ${written(end.latest, now)}`,
      commandId: EXTEND,
      displayType: 'accent'
    };
    return {
      message: `This server ends at ${written(end.ends, now)}. Its kernels and terminals stop then. Save your work: saved files are kept.`,
      type: 'warning',
      options: { autoClose: false, actions: end.extendPath === null ? [] : [extend] }
    };
  }

  // Returns the address of a page of the hub, from the data that JupyterLab's page has about the hub.  `page` is a path
  // below that of the hub, or a whole path.
  function hubAddress(page, data, here) {
    const prefix = new URL(data.hubPrefix || '/hub/', data.hubHost || here);
    return new URL(page, prefix).href;
  }

  // Shows each notice when it is due.  `host` is what the watch needs from its surroundings:
  // read: returns a promise of the end of the server, null if it is unknown
  // now: the time of the server; hidden: whether nobody sees the page
  // later(action, milliseconds): replaces the action that waits; show(notification), dismiss()
  function watch(host) {
    let end = null;
    let shown = null; // the end and the notice that was shown last; the user may have closed it
    let reads = 0;

    async function look() {
      reads += 1;
      // If the server does not answer, the end that was read last still holds.
      end = (await host.read().catch(() => null)) || end;
      tell();
    }

    function tell() {
      if (end === null) {
        if (reads < FIRST_READS) {
          host.later(look, MINUTE);
        }
        return;
      }
      const due = dueNotice(end, host.now());
      const notice = due === null ? null : `${end.ends} ${due}`;
      if (notice !== shown) {
        host.dismiss();
        shown = notice;
        if (notice !== null) {
          host.show(notification(end, due, host.now()));
        }
      }
      const next = untilNext(end, host.now());
      if (next !== null) {
        const repeat = due === null || host.hidden() ? LONGEST_TIMER : MINUTE;
        host.later(look, Math.min(next, repeat, LONGEST_TIMER));
      }
    }

    // Timers do not run while a computer sleeps, and run late on a hidden page.
    async function wake() {
      if (end !== null && dueNotice(end, host.now()) !== null) {
        await look();
      }
    }

    return { look, wake };
  }

  function cookie(name) {
    const found = document.cookie.split('; ').find(entry => entry.startsWith(`${name}=`));
    return found === undefined ? null : found.slice(name.length + 1);
  }

  function pageData(page) {
    const element = page.getElementById('jupyter-config-data');
    return element === null ? {} : JSON.parse(element.textContent);
  }

  function activate(app) {
    const { commands } = app;
    const data = pageData(document);
    let offset = 0; // of the server's clock, because the end is a time of the server's
    let shown = Promise.resolve(null); // the notification's id
    let timer = null;
    let extendPage = 'home'; // of the hub

    async function read() {
      const headers = {};
      const xsrf = cookie('_xsrf');
      if (xsrf !== null) {
        headers['X-XSRFToken'] = xsrf; // required from scripts, unless the page has a token as with JupyterHub
      }
      if (app.serviceManager.serverSettings.token) {
        headers.Authorization = `token ${app.serviceManager.serverSettings.token}`;
      }
      const options = { headers, cache: 'no-store', credentials: 'same-origin' };
      const answer = await fetch(data.fullAppUrl || location.pathname, options);
      const date = Date.parse(answer.headers.get('Date'));
      const found = answer.ok
        ? endIn(pageData(new DOMParser().parseFromString(await answer.text(), 'text/html')))
        : null;
      if (found !== null) {
        extendPage = found.extendPath || 'home';
        offset = Number.isFinite(date) ? date - Date.now() : offset;
      }
      return found;
    }

    function show(args) {
      // The command comes from an extension of JupyterLab, which can be switched off.
      shown = commands.hasCommand(NOTIFY) ? commands.execute(NOTIFY, args) : Promise.resolve(null);
    }

    function dismiss() {
      void shown.then(id => id && commands.execute(DISMISS, { id }));
    }

    function open(page) {
      window.open(hubAddress(page, data, location.href), '_blank', 'noopener');
    }

    commands.addCommand(EXTEND, { label: 'Extend the Wall Time of This Server', execute: () => open(extendPage) });
    commands.addCommand(GO_TO_HUB, {
      label: 'Open the Home Page of the Hub',
      execute: () => open('home')
    });
    const watched = watch({
      read,
      now: () => Date.now() + offset,
      hidden: () => document.hidden,
      later: (action, milliseconds) => {
        clearTimeout(timer);
        timer = setTimeout(action, milliseconds);
      },
      show,
      dismiss
    });
    document.addEventListener('visibilitychange', () => {
      if (!document.hidden) {
        void watched.wake();
      }
    });
    void app.restored.then(watched.look);
  }

  const plugin = { id: `${NAME}:plugin`, description: 'Tell when the server ends.', autoStart: true, activate };

  if (typeof window === 'undefined') {
    module.exports = { endIn, dueNotice, untilNext, notification, hubAddress, watch };
  } else {
    window._JUPYTERLAB = window._JUPYTERLAB || {};
    window._JUPYTERLAB[NAME] = { init: () => {}, get: async () => () => ({ __esModule: true, default: plugin }) };
  }
})();
