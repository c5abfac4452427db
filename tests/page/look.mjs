// Looks at the status page with a browser: takes its picture at each width and in each colour scheme, and
// fails on what axe finds, on a page that scrolls sideways, on a message of the console, and on an address of
// another origin.
//
// node look.mjs URL DIRECTORY NAME WORDS [stale PID]
//
// WORDS is a regular expression that the verdict of the page must match, within 30 s.
// With `stale`, the server of that process id is ended at last, and the page has to say so.
import { createRequire } from "node:module";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";

const require = createRequire(join(process.env.PAGE_MODULES ?? process.cwd(), "package.json"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const [url, directory, name, words, stale, pid] = process.argv.slice(2);
const origin = new URL(url).origin;
const faults = [];
const fault = (text) => faults.push(`${name}: ${text}`);

// Until the page says so: the figures of a load or of a sink that hangs take their time.
const says = async (page) => {
  const verdict = () => page.textContent("#verdict");
  const end = Date.now() + 30_000;
  while (!new RegExp(words).test(await verdict())) {
    if (Date.now() > end) return fault(`the verdict is not /${words}/ but: ${(await verdict()).trim().slice(0, 300)}`);
    await page.waitForTimeout(250);
  }
};

mkdirSync(directory, { recursive: true });
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: process.getuid() === 0 ? ["--no-sandbox"] : [],
});

// A page that watches what it asks for and complains of.
const open = async (options, scripts = true) => {
  const context = await browser.newContext({ javaScriptEnabled: scripts, ...options });
  const page = await context.newPage();
  const session = await context.newCDPSession(page);
  const asked = [];
  await session.send("Network.enable");
  session.on("Network.requestWillBeSent", ({ request }) => asked.push(request.url));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) fault(`the console says: ${message.text()}`);
  });
  page.on("pageerror", (error) => fault(`the script fails: ${error.message}`));
  const answer = await page.goto(url);
  if (!answer.ok()) fault(`${url} answers ${answer.status()}`);
  return { context, page, asked, policy: answer.headers()["content-security-policy"] };
};

for (const width of [360, 1440]) {
  for (const colorScheme of ["light", "dark"]) {
    const { context, page, asked, policy } = await open({
      viewport: { width, height: width < 500 ? 780 : 900 },
      colorScheme,
      deviceScaleFactor: 1,
      reducedMotion: "reduce",
      // So that axe can be put into a page whose policy forbids it; the policy itself is tried below.
      bypassCSP: true,
    });
    if (!policy?.startsWith("default-src 'none';")) fault(`the policy is ${policy}`);
    await page.waitForFunction(() => document.getElementById("pulse").textContent.startsWith("Live"));
    await page.waitForTimeout(1500);
    await says(page);
    const wide = await page.evaluate(() => {
      const width = document.documentElement.clientWidth;
      const over = [...document.querySelectorAll("body *")].filter((element) => {
        const box = element.getBoundingClientRect();
        return box.width > 0 && !element.closest("svg, .skip") && (box.right > width + 0.5 || box.left < -0.5);
      });
      // What is wider than its own box, too: it would lie over its neighbour.
      const spilled = [...document.querySelectorAll("td, th, p, h2, li, code")].filter((element) => element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 0);
      return { scrolls: document.documentElement.scrollWidth > width, over: [...over, ...spilled].slice(0, 5).map((element) => element.outerHTML.slice(0, 100)) };
    });
    if (wide.scrolls || wide.over.length) fault(`${width} px: wider than the screen: ${JSON.stringify(wide)}`);
    await page.screenshot({ path: join(directory, `${name}-${width}-${colorScheme}.png`), fullPage: true });
    await page.addScriptTag({ content: axe });
    const { violations, passes } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
    for (const { id, impact, help, nodes } of violations)
      fault(`axe, ${width} px, ${colorScheme}: ${id} (${impact}): ${help}: ${nodes.map((node) => node.html).join(" ").slice(0, 300)}`);
    if (passes.length < 10) fault(`axe tried only ${passes.length} rules`);
    for (const address of asked) {
      if (!address.startsWith("data:") && new URL(address).origin !== origin) fault(`it asks for ${address}`);
    }
    if (asked.length < 2) fault("the script asked for nothing");
    await context.close();
  }
}

// With its policy and by the keyboard alone.
{
  const { context, page } = await open({ viewport: { width: 1024, height: 768 } });
  await page.waitForFunction(() => document.getElementById("pulse").textContent.startsWith("Live"));
  const focus = () => page.evaluate(() => {
    const element = document.activeElement, style = getComputedStyle(element);
    return { text: element.textContent.trim(), id: element.id, seen: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2 };
  });
  await page.keyboard.press("Tab");
  let at = await focus();
  if (at.text !== "Skip to the figures" || !at.seen) fault(`the first focus is ${JSON.stringify(at)}`);
  await page.keyboard.press("Tab");
  at = await focus();
  if (at.id !== "pause" || !at.seen) fault(`the second focus is ${JSON.stringify(at)}`);
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.getElementById("pulse").textContent.startsWith("Paused"));
  const asked = [];
  page.on("request", (asking) => asked.push(asking.url()));
  await page.waitForTimeout(2500);
  if (asked.length) fault("a page that is paused asks on");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.getElementById("pulse").textContent.startsWith("Live"));
  if ((await focus()).id !== "pause") fault("bringing the page up to date took the focus away");
  if (stale === "stale") {
    process.kill(Number(pid), "SIGKILL");
    // The browser itself tells of the connection that it did not get.
    page.removeAllListeners("console");
    await page.waitForSelector("#stale:not([hidden])", { timeout: 10_000 });
    const text = await page.textContent("#stale");
    if (!/No answer: the figures are stale since \d\d:\d\d:\d\d/.test(text)) fault(`stale: ${text}`);
    await page.screenshot({ path: join(directory, `${name}-stale.png`) });
  }
  await context.close();
}

// Without a script it is whole.
if (stale !== "stale") {
  const { context, page } = await open({ viewport: { width: 1024, height: 768 } }, false);
  const rows = await page.locator("tbody tr").count();
  if (rows < 15) fault(`without a script there are only ${rows} rows`);
  if (await page.locator("#pause").isVisible()) fault("a button without a script");
  await page.screenshot({ path: join(directory, `${name}-no-script.png`), fullPage: true });
  await context.close();
}

await browser.close();
for (const text of faults) console.error(text);
console.log(`${name}: ${faults.length} faults; pictures in ${directory}`);
process.exitCode = faults.length ? 1 : 0;
