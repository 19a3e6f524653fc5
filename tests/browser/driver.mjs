// Drives real browsers for the Rust tests: reads one JSON command a line on standard input, writes one JSON answer a line.
//
//   {"id":1,"do":"launch","browser":"chromium","name":"a"}
//   {"id":2,"do":"open","browser":"a","page":"p","url":"https://127.0.0.1:4443/"}
//   {"id":3,"do":"eval","page":"p","body":"return document.title","args":[]}
//   {"id":4,"do":"console","page":"p"}          lines that the page has logged
//   {"id":5,"do":"click","page":"p","selector":"#join"} / {"do":"fill",...,"value":"x"}
//   {"id":6,"do":"closePage","page":"p"} / {"do":"shot","page":"p","path":"x.png"}
//
// The answer is {"id":1,"ok":value} or {"id":1,"error":"text"}. Browsers end with standard input.
// Chromium is driven by playwright-core (DevTools protocol), Firefox by puppeteer-core (WebDriver BiDi).

import { createServer } from "node:http";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";
import puppeteer from "puppeteer-core";

const COMMAND_TIMEOUT_MS = 30_000;
const CONSOLE_LINES_MAX = 500;

const CHROMIUM_FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--disable-background-timer-throttling",
  "--disable-renderer-backgrounding",
  "--disable-backgrounding-occluded-windows",
  "--disable-features=WebRtcHideLocalIpsWithMdns,MediaRouter",
  "--use-fake-device-for-media-stream",
  "--use-fake-ui-for-media-stream",
  "--autoplay-policy=no-user-gesture-required",
  "--mute-audio",
  // Who shares a screen shares the page's own tab.
  "--auto-select-tab-capture-source-by-title=Plenum",
];

const FIREFOX_PREFS = {
  "media.navigator.streams.fake": true,
  "media.navigator.permission.disabled": true,
  "media.autoplay.default": 0,
  "media.autoplay.blocking_policy": 0,
  "media.peerconnection.ice.loopback": true,
  "media.peerconnection.ice.obfuscate_host_addresses": false,
  "media.gmp-manager.updateEnabled": false,
  "media.gmp-provider.enabled": false,
  "media.getusermedia.insecure.enabled": true,
  "media.devices.insecure.enabled": true,
  "dom.min_background_timeout_value": 10,
  "dom.timeout.enable_budget_timer_throttling": false,
  "network.captive-portal-service.enabled": false,
  "network.connectivity-service.enabled": false,
  "app.update.enabled": false,
  "browser.safebrowsing.downloads.remote.enabled": false,
  "services.settings.server": "data:,#none",
  "toolkit.telemetry.enabled": false,
  "datareporting.policy.dataSubmissionEnabled": false,
};

const browsers = new Map();
const pages = new Map();
const folders = [];

function firstOf(paths) {
  const found = paths.find((path) => path && existsSync(path));
  if (!found) throw new Error(`none of ${paths.filter(Boolean).join(", ")} is installed`);
  return found;
}

async function launchChromium(extra) {
  return chromium.launch({
    executablePath: firstOf([process.env.PLENUM_CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser"]),
    headless: true,
    args: [...CHROMIUM_FLAGS, ...extra],
  });
}

async function launchFirefox() {
  const profile = mkdtempSync(join(tmpdir(), "plenum-firefox-"));
  folders.push(profile);
  return puppeteer.launch({
    browser: "firefox",
    executablePath: firstOf([process.env.PLENUM_FIREFOX, "/usr/bin/firefox-esr", "/usr/bin/firefox"]),
    headless: true,
    acceptInsecureCerts: true,
    userDataDir: profile,
    extraPrefsFirefox: FIREFOX_PREFS,
    env: { ...process.env, HOME: profile, MOZ_CRASHREPORTER_DISABLE: "1" },
  });
}

// One page of either kind behind the few calls that the tests need.
async function openPage(kind, browser, url) {
  if (kind === "chromium") {
    const context = await browser.newContext({ ignoreHTTPSErrors: true, permissions: [] });
    const page = await context.newPage();
    return { kind, page, close: () => context.close(), goto: () => page.goto(url, { waitUntil: "domcontentloaded" }) };
  }
  const page = await browser.newPage();
  return { kind, page, close: () => page.close(), goto: () => page.goto(url, { waitUntil: "domcontentloaded" }) };
}

const actions = {
  async launch({ browser, name, flags }) {
    const instance = browser === "firefox" ? await launchFirefox() : await launchChromium(flags ?? []);
    browsers.set(name, { kind: browser, instance });
    return { version: await instance.version(), pid: instance.process?.()?.pid ?? null };
  },

  async open({ browser, page, url }) {
    const { kind, instance } = need(browsers, browser);
    const opened = await openPage(kind, instance, url);
    opened.log = [];
    const note = (text) => {
      opened.log.push(text);
      if (opened.log.length > CONSOLE_LINES_MAX) opened.log.shift();
    };
    opened.page.on("console", (message) => note(`${message.type()}: ${message.text()}`));
    opened.page.on("pageerror", (error) => note(`uncaught: ${error.message ?? error}`));
    pages.set(page, opened);
    await opened.goto();
    return null;
  },

  // The body is that of an async function with one parameter, `args`.
  async eval({ page, body, args }) {
    const { page: target } = need(pages, page);
    return (
      (await target.evaluate(
        async ([body, args]) => {
          const run = new (Object.getPrototypeOf(async function () {}).constructor)("args", body);
          const value = await run(args);
          return value === undefined ? null : value;
        },
        [body, args ?? []],
      )) ?? null
    );
  },

  async click({ page, selector }) {
    const { page: target } = need(pages, page);
    await target.click(selector, { timeout: 10_000 });
    return null;
  },

  async fill({ page, selector, value }) {
    const { kind, page: target } = need(pages, page);
    if (kind === "chromium") await target.fill(selector, value);
    else {
      await target.$eval(selector, (element) => (element.value = ""));
      await target.type(selector, value);
    }
    return null;
  },

  async shot({ page, path }) {
    const { page: target } = need(pages, page);
    await target.screenshot({ path });
    return null;
  },

  async console({ page }) {
    return need(pages, page).log;
  },

  async closePage({ page }) {
    const opened = need(pages, page);
    pages.delete(page);
    await opened.close();
    return null;
  },

  async closeBrowser({ name }) {
    const { instance } = need(browsers, name);
    browsers.delete(name);
    await instance.close();
    return null;
  },

  // A page of our own on a secure origin (localhost), for tests that call WHIP and WHEP themselves.
  async serve() {
    const files = {
      "/": ["text/html", "page.html"],
      "/calls.js": ["text/javascript", "calls.js"],
      "/openvidu/": ["text/html", "openvidu/page.html"],
      "/openvidu/client.js": ["text/javascript", "openvidu/client.js"],
      "/openvidu-browser.js": ["text/javascript", "node_modules/openvidu-browser/static/js/openvidu-browser-2.32.2.min.js"],
    };
    const server = createServer((request, response) => {
      if (request.url === "/docs.html") {
        const text = readFileSync(new URL("../../docs/signalling.md", import.meta.url), "utf8");
        response.writeHead(200, { "content-type": "text/html" });
        return response.end(/```html\n([^]*?)```/.exec(text)[1]);
      }
      const file = files[request.url.split(/[?#]/)[0]];
      if (!file) return response.writeHead(404).end();
      response.writeHead(200, { "content-type": file[0], "cache-control": "no-store" });
      response.end(readFileSync(new URL(file[1], import.meta.url)));
    });
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    server.unref();
    return `http://localhost:${server.address().port}/`;
  },
};

function need(map, key) {
  const value = map.get(key);
  if (!value) throw new Error(`'${key}' is not open`);
  return value;
}

function within(promise, ms) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done within ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

async function handle(line) {
  let command = {};
  try {
    command = JSON.parse(line);
    const action = actions[command.do];
    if (!action) throw new Error(`unknown command '${command.do}'`);
    const value = await within(action(command), command.timeoutMs ?? COMMAND_TIMEOUT_MS);
    answer({ id: command.id, ok: value });
  } catch (error) {
    answer({ id: command.id ?? null, error: String(error?.message ?? error) });
  }
}

function answer(message) {
  process.stdout.write(JSON.stringify(message) + "\n");
}

async function end() {
  await Promise.allSettled([...browsers.values()].map(({ instance }) => within(instance.close(), 5_000)));
  for (const folder of folders) rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  process.exit(0);
}

const input = createInterface({ input: process.stdin });
input.on("line", (line) => void handle(line));
input.on("close", () => void end());
process.on("SIGTERM", () => void end());
