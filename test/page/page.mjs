// Drives a real browser over the page of a running daemon, way by way, and prints a line of JSON for
// each: {"step", "error", "notes"}. It runs in the network of a client's, and is started by TestPage.
import { createRequire } from "node:module";
import { appendFileSync, mkdirSync, readFileSync } from "node:fs";
import net from "node:net";

const given = JSON.parse(readFileSync(process.argv[2], "utf8"));
const require = createRequire(given.modules + "/");
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const base = given.url;
const patience = 60000; // of each step, whatever else the machine does
mkdirSync(given.shots, { recursive: true });

let notes = [];
const note = (text) => notes.push(text);
function check(true_, text) {
  if (!true_) throw new Error(text);
}
const only = new RegExp(given.only); // and who wants anything has to be logged in
async function step(name, does) {
  if (name !== "login" && !only.test(name)) return;
  notes = [];
  let error = "";
  try {
    await does();
  } catch (e) {
    error = String(e.stack || e);
    let n = 0;
    for (const p of open) {
      try { await p.screenshot({ path: `${given.shots}/failed-${name.replace(/\W+/g, "-")}-${n++}.png`, timeout: 5000 }); } catch { /* it is gone */ }
    }
  }
  console.log(JSON.stringify({ step: name, error, notes }));
}

// What no page may do, whatever is in it: run a script that is not ours, ask for something elsewhere,
// break the policy.
const wrong = [];
const open = new Set();
async function watched(context) {
  await context.addInitScript(() => {
    window.addEventListener("securitypolicyviolation", (e) => console.error("policy: " + e.violatedDirective + " " + e.blockedURI));
  });
  context.on("page", (p) => {
    open.add(p);
    p.on("close", () => open.delete(p));
    p.setDefaultTimeout(patience);
    p.on("dialog", (d) => { wrong.push("a dialog: " + d.message()); d.dismiss(); });
    p.on("pageerror", (e) => wrong.push("a script failed: " + e.message));
    p.on("console", (m) => { if (m.text().startsWith("policy: ")) wrong.push(m.text()); });
    p.on("request", (r) => {
      if (!r.url().startsWith(base) && !r.url().startsWith("data:") && !r.url().startsWith("about:")) wrong.push("a request to elsewhere: " + r.url());
    });
  });
  return context;
}
function allWell() {
  const said = wrong.splice(0);
  check(said.length === 0, said.join("\n"));
}

// Whether a connection to a service of the server's comes about, from an address of ours.
function reaches(from, port = 80) {
  return new Promise((done) => {
    const c = net.connect({ host: given.server, port, localAddress: from, timeout: 3000 });
    c.on("connect", () => { c.destroy(); done(true); });
    c.on("error", () => done(false));
    c.on("timeout", () => { c.destroy(); done(false); });
  });
}
async function until(what, true_) {
  const end = Date.now() + patience;
  while (!(await true_())) {
    check(Date.now() < end, "not within a minute: " + what);
    await new Promise((r) => setTimeout(r, 50));
  }
}
function line(user, from) {
  appendFileSync(given.log, `${new Date().toISOString().slice(0, 19)}Z login of ${user} failed from ${from}\n`);
}

async function serious(page, what) {
  await page.evaluate(axe); // by the protocol, which the page's policy does not stop
  const found = await page.evaluate(async () => (await window.axe.run(document, { resultTypes: ["violations"] })).violations);
  const bad = found.filter((v) => ["serious", "critical"].includes(v.impact));
  for (const v of found.filter((v) => !bad.includes(v))) note(`${what}: ${v.impact}: ${v.id}: ${v.nodes.length}`);
  check(bad.length === 0, `${what}: ` + bad.map((v) => `${v.impact} ${v.id}: ${v.help}: ${v.nodes.slice(0, 3).map((n) => n.html.slice(0, 200) + " " + (n.any[0]?.message || "")).join(" | ")}`).join("\n"));
}

async function login(page, name, password) {
  await page.goto(base + "/login");
  await page.fill("#name", name);
  await page.fill("#password", password);
  await page.click("main form button");
  await page.waitForLoadState();
}

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-dev-shm-usage"],
});
const context = await watched(await browser.newContext({ viewport: { width: 1400, height: 900 } }));
const page = await context.newPage();

// Ways: where a reader comes to, and what is there.
const ways = [["overview", "/"], ["bans", "/bans"], ["jails", "/jails"], ["jail", "/jails/shop"], ["settings", "/jails/shop/settings"], ["filter", "/filter"], ["doctor", "/doctor"], ["replay", "/replay?jail=shop"], ["events", "/events"], ["never", "/never"], ["address", "/address?ip=192.0.2.70"]];
const viewed = ways.filter(([name]) => !["filter", "replay"].includes(name)); // which works for who asks, and is an operator's

await step("login page", async () => {
  await page.goto(base + "/bans");
  check(page.url().includes("/login"), "who is not logged in is at " + page.url());
  await serious(page, "login");
  await page.fill("#name", "olga");
  await page.fill("#password", "wrong password");
  await page.click("main form button");
  await page.waitForSelector("[role=alert]");
  check(!(await context.cookies()).some((c) => c.name === "bailiff"), "there is a session");
  allWell();
});

await step("login", async () => {
  await page.goto(base + "/login?to=/bans");
  const before = (await context.cookies()).map((c) => c.value);
  await page.fill("#name", "olga");
  await page.fill("#password", given.password);
  await page.click("main form button");
  await page.waitForURL("**/bans");
  const c = (await context.cookies()).find((c) => c.name === "bailiff");
  check(c && c.httpOnly && c.sameSite === "Strict" && !before.includes(c.value), "the cookie: " + JSON.stringify(c));
  allWell();
});

// Pictures of pages, narrow to wide, light and dark.
async function shoot(ways) {
  for (const [width, height] of [[400, 860], [1400, 900], [3840, 2160]]) {
    for (const colorScheme of ["light", "dark"]) {
      await page.setViewportSize({ width, height });
      await page.emulateMedia({ colorScheme });
      for (const [name, path] of ways) {
        await page.goto(base + path);
        await page.screenshot({ path: `${given.shots}/${name}-${colorScheme}-${width}.png` });
        const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        check(over <= 0, `${name} is ${over} pixels wider than a window of ${width}`);
      }
    }
  }
  await page.setViewportSize({ width: 1400, height: 900 });
  await page.emulateMedia({ colorScheme: "light" });
}

for (const [name, path] of ways) {
  await step("read " + name, async () => {
    const got = await page.goto(base + path);
    check(got.status() === 200, `${path}: ${got.status()}`);
    check((await page.locator("h1").count()) === 1, "not one h1");
    await serious(page, name + ", light");
    await page.emulateMedia({ colorScheme: "dark" });
    await serious(page, name + ", dark");
    await page.emulateMedia({ colorScheme: "light" });
    allWell();
  });
}

await step("search in many bans", async () => {
  const paints = [];
  for (const q of ["2001:db8:7::/48", "2001:db8:8:0:*", given.somebody, "no such thing", "&sort=ip", "&sort=-end"]) {
    await page.goto(base + "/bans?q=" + (q.startsWith("&") ? q : encodeURIComponent(q)));
    await page.waitForFunction(() => performance.getEntriesByName("first-contentful-paint").length > 0);
    const paint = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0].startTime);
    paints.push(`${q}: ${Math.round(paint)} ms`);
    note(`first paint with ${given.bans} bans: ${paints.at(-1)}; ${await page.locator(".count").innerText()}`);
  }
  await page.goto(base + "/bans?q=" + encodeURIComponent(given.somebody));
  check((await page.locator("table.bans tbody tr").count()) >= 1, given.somebody + " is not found");
  check((await page.locator("table.bans tbody tr").first().innerText()).includes(given.somebody), "another one is found");
  await page.goto(base + "/bans");
  const first = await page.locator("table.bans tbody tr").first().innerText();
  if (await page.locator("a[rel=next]").count()) {
    await page.click("a[rel=next]");
    await page.waitForLoadState();
    check((await page.locator("table.bans tbody tr").first().innerText()) !== first, "the next page is the same");
  }
  await page.locator("table.bans thead a").first().click();
  await page.waitForLoadState();
  check((await page.locator("th[aria-sort]").count()) >= 1, "nothing says how it is sorted");
  allWell();
});

await step("a ban comes live, and is lifted", async () => {
  await page.goto(base + "/events");
  await page.waitForSelector(".live.on");
  await page.evaluate(() => {
    window.seen = {};
    new MutationObserver(() => {
      for (const m of document.body.innerText.matchAll(/live-\d+/g)) window.seen[m[0]] ||= Date.now();
    }).observe(document.body, { subtree: true, childList: true, characterData: true });
  });
  const took = [];
  for (let n = 0; n < 5; n++) {
    const name = `live-${Date.now()}`;
    const at = Date.now();
    line(name, "192.0.2." + (80 + n));
    await page.waitForFunction((name) => window.seen[name], name);
    took.push((await page.evaluate((name) => window.seen[name], name)) - at);
    await new Promise((r) => setTimeout(r, 300));
  }
  note(`from a line in the log to its event on the page: ${took.join(", ")} ms`);
  check(await reaches("192.0.2.70"), "192.0.2.70 is shut out before");
  for (let n = 0; n < 3; n++) line("root", "192.0.2.70");
  await page.waitForSelector("tr.k-ban:has-text('192.0.2.70')");
  await until("192.0.2.70 is shut out", async () => !(await reaches("192.0.2.70")));
  await page.click("tr.k-ban a:has-text('192.0.2.70')");
  await page.waitForURL("**/address?**");
  await page.click("form[action='/unban'] button");
  await page.waitForSelector(".notice.good");
  await until("its packets come through", () => reaches("192.0.2.70"));
  check(!(await page.locator("#verdict").getAttribute("class")).includes("bad"), "the page says that it is banned");
  allWell();
});

await step("ban, allow and their end by hand", async () => {
  await page.goto(base + "/address?ip=192.0.2.71");
  await page.selectOption("#in", "shop");
  await page.click("form[action='/ban'] button");
  await page.waitForSelector("#verdict.bad");
  await until("192.0.2.71 is shut out", async () => !(await reaches("192.0.2.71")));
  await page.selectOption("#for", "1h");
  await page.locator("form[action='/allow']:has(#for) button").click();
  await page.waitForSelector("#verdict:not(.bad)");
  await until("its packets come through", () => reaches("192.0.2.71"));
  await page.goto(base + "/never");
  check((await page.locator("section:has(#let-h)").innerText()).includes("192.0.2.71"), "who is let in is not listed");
  await page.goto(base + "/address?ip=192.0.2.71");
  await page.locator("form[action='/allow']:has(input[name=end]) button").click();
  await page.waitForSelector(".notice.good");
  allWell();
});

// What the verdict says of when a ban ends, in days from now; Infinity: it does not.
async function lasts(page) {
  const text = await page.locator("#verdict").innerText();
  const m = text.match(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/);
  return m ? (Date.parse(m[0].replace(" ", "T") + "Z") - Date.now()) / 86400e3 : Infinity;
}

await step("a ban has another end", async () => {
  await page.goto(base + "/address?ip=192.0.2.72");
  await page.selectOption("#in", "shop");
  await page.click("form[action='/ban'] button");
  await page.waitForSelector("#verdict.bad");
  check((await lasts(page)) < 0.1, `it lasts ${await lasts(page)} days at first: ` + (await page.locator("#verdict").innerText()));
  for (const [value, days] of [["30d", 30], ["1d", 1], ["-1", Infinity]]) {
    await page.selectOption("#long-0", value);
    await page.locator("form[action='/ban']:has(#long-0) button").click();
    await page.waitForSelector(".notice.good");
    const is = await lasts(page);
    check(is === days || Math.abs(is - days) < 0.1, `${value}: it lasts ${is} days: ` + (await page.locator("#verdict").innerText()));
  }
  await serious(page, "an address that is banned");
  check(!(await reaches("192.0.2.72")), "its packets come through");
  await page.click("form[action='/unban'] button");
  await page.waitForSelector("#verdict:not(.bad)");
  await until("its packets come through", () => reaches("192.0.2.72"));
  allWell();
});

await step("never banned, and that taken back", async () => {
  const who = "192.0.2.73";
  for (let n = 0; n < 3; n++) line("root", who);
  await until(who + " is shut out", async () => !(await reaches(who)));
  await page.goto(base + "/address?ip=" + who);
  await page.selectOption("#never", "");
  await page.locator("form[action='/never']:has(#never) button").click();
  await page.waitForSelector("#verdict:not(.bad)");
  await until("its packets come through", () => reaches(who));
  for (let n = 0; n < 5; n++) line("spared", who);
  for (let n = 0; n < 3; n++) line("root", "192.0.2.74"); // who comes later in the same log is banned
  await until("192.0.2.74 is shut out", async () => !(await reaches("192.0.2.74")));
  check(await reaches(who), who + " is shut out, though it is never to be");
  await page.goto(base + "/never");
  const row = page.locator("section:has(#never-h) tr", { hasText: who });
  check((await row.innerText()).includes("web:olga"), "who said so is not told: " + (await row.innerText()));
  await serious(page, "never, with somebody");
  await shoot([["never-somebody", "/never"]]);
  await row.locator("button").click();
  await page.waitForSelector(".notice.good");
  check((await page.locator("section:has(#never-h) tr", { hasText: who }).count()) === 0, "it is still listed");
  for (let n = 0; n < 3; n++) line("root", who);
  await until(who + " is shut out again", async () => !(await reaches(who)));
  for (const ip of [who, "192.0.2.74"]) {
    await page.goto(base + "/address?ip=" + ip);
    await page.click("form[action='/unban'] button");
    await page.waitForSelector("#verdict:not(.bad)");
  }
  allWell();
});

await step("countries on a map", async () => {
  await page.goto(base + "/");
  await until("New Zealand is on the map", async () => {
    await page.goto(base + "/");
    return (await page.locator("section:has(#map-h) g title").allTextContents()).some((text) => text.startsWith("New Zealand: "));
  });
  const map = page.locator("section:has(#map-h) svg");
  const box = await map.boundingBox();
  check(box.width > 200 && box.height > 80, `the map is ${box.width} by ${box.height}`);
  await map.screenshot({ path: `${given.shots}/map.png` });
  await page.goto(base + "/address?ip=192.0.2.73");
  check((await page.locator("#verdict .place").innerText()).includes("New Zealand"), "the address's country is not told");
  check((await page.locator("#verdict .place").innerText()).includes("AS64500"), "whose network it is is not told");
  allWell();
});

await step("several bans lifted at once", async () => {
  for (const who of ["192.0.2.75", "192.0.2.76"]) {
    for (let n = 0; n < 3; n++) line("root", who);
    await until(who + " is shut out", async () => !(await reaches(who)));
  }
  await page.goto(base + "/bans?jail=shop&q=" + encodeURIComponent("192.0.2.7*"));
  const boxes = page.locator("table.bans input[type=checkbox]");
  check((await boxes.count()) === 2, `${await boxes.count()} bans are found`);
  for (let n = 0; n < 2; n++) await boxes.nth(n).check();
  await page.click("#bans .under button");
  await page.waitForSelector(".notice.good");
  for (const who of ["192.0.2.75", "192.0.2.76"]) await until("packets of " + who + " come through", () => reaches(who));
  allWell();
});

await step("a setting changed for good, and taken back", async () => {
  const maxretry = async () => {
    const beside = await context.newPage();
    await beside.goto(base + "/jails/shop");
    const is = (await beside.locator("dl.pairs div", { hasText: "maxretry" }).locator("dd").innerText()).trim();
    await beside.close();
    return is;
  };
  check((await maxretry()) === "3", "maxretry is " + (await maxretry()));
  await page.goto(base + "/jails/shop/settings");
  await page.fill("#set-maxretry", "7");
  await page.locator("input[name=keep]").check();
  await page.click("form:has(#set-maxretry) button.main");
  await page.waitForSelector("#diff-h");
  check(/maxretry\s*=\s*7/.test(await page.locator("section:has(#diff-h)").innerText()), "what would change is not shown");
  await serious(page, "what would change");
  await page.screenshot({ path: `${given.shots}/settings-preview.png` });
  check((await maxretry()) === "3", "it is changed before anybody said so");
  await page.click("section:has(#diff-h) button.main");
  await page.waitForSelector(".notice.good");
  check((await maxretry()) === "7", "maxretry is " + (await maxretry()));
  const said = await (await context.request.get(base + "/events?kind=reload")).text();
  check(said.includes("web:olga"), "no event says who has changed it");
  await page.goto(base + "/jails/shop/settings");
  await serious(page, "what is changed");
  await page.click("form[action$='/forget'] button");
  await page.waitForSelector(".notice.good");
  check((await maxretry()) === "3", "maxretry is " + (await maxretry()));
  allWell();
});

await step("a filter tried", async () => {
  const try_ = async (filter, lines, prove) => {
    await page.goto(base + "/filter");
    await page.fill("#filter", filter);
    await page.fill("#lines", lines);
    if (prove) await page.check("input[name=prove]");
    await page.click("form[action='/filter'] button");
    await page.waitForSelector(".tried, [role=alert], .notice.bad");
  };
  const own = "failregex = '^\\s*login of <F-USER>.*</F-USER> failed from <ADDR>$'";
  await until("a filter is tried", async () => { // which has five seconds, and this machine may be busy
    await try_(own, "2026-01-31T12:00:00Z login of root failed from 192.0.2.7\n2026-01-31T12:00:01Z something else", true);
    return (await page.locator(".tried").count()) > 0;
  });
  const rows = page.locator(".tried li");
  check((await rows.count()) === 2, `${await rows.count()} lines are told of`);
  const first = await rows.first().innerText();
  check(first.includes("failure") && first.includes("192.0.2.7") && first.includes("root"), first);
  check((await rows.first().locator("pre mark").count()) > 0, "no part of the line is marked");
  check((await rows.nth(1).innerText()).startsWith("nothing"), await rows.nth(1).innerText());
  check((await page.locator("#proof-h").count()) === 1, "nothing is told of a proof");
  await serious(page, "a filter's answer, light");
  await page.emulateMedia({ colorScheme: "dark" });
  await serious(page, "a filter's answer, dark");
  await page.screenshot({ path: `${given.shots}/filter-answer.png`, fullPage: true });
  await page.emulateMedia({ colorScheme: "light" });
  await try_(own, given.payloads.slice(0, 20).map((p) => `2026-01-31T12:00:00Z login of ${p} failed from 192.0.2.7`).join("\n"));
  check((await page.locator(".tried").innerText()).includes("payload-0"), "the lines are not told of");
  check((await page.evaluate(() => window.ran)) === undefined, "a line has run");
  await try_("failregex = '<script>ran=1</script>('", "x");
  check((await page.evaluate(() => window.ran)) === undefined, "a filter has run");
  check((await page.locator(".notice.bad").count()) > 0, "nothing is said of a filter that is none");
  allWell();
});

await step("a filter saved with its samples, given to a jail, and removed", async () => {
  const own = "failregex = '^\\s*saved filter refused <F-USER>.*</F-USER> from <ADDR>$'";
  const refused = () => appendFileSync(given.log, `${new Date().toISOString().slice(0, 19)}Z saved filter refused root from 192.0.2.76\n`);
  await until("the filter is tried", async () => {
    await page.goto(base + "/filter");
    await page.fill("#filter", own);
    await page.fill("#lines", "2026-01-31T12:00:00Z saved filter refused root from 192.0.2.7\n2026-01-31T12:00:01Z something else");
    await page.click("form[action='/filter'] button");
    await page.waitForSelector(".tried, [role=alert], .notice.bad");
    return (await page.locator(".tried").count()) > 0;
  });
  await page.fill("#name", "mine");
  await page.click("form[action='/filter/save']:has(#name) button");
  await page.waitForSelector("#diff-h");
  const diff = await page.locator("pre.diff").innerText();
  check(diff.includes(own) && diff.split("[[sample]]").length === 3, "what would be saved is not shown: " + diff);
  await serious(page, "what would be saved");
  await page.screenshot({ path: `${given.shots}/filter-save.png`, fullPage: true });
  check((await page.locator("#saved-h").count()) === 0, "it is saved before anybody said so");
  await page.click("section:has(#diff-h) button.main");
  await page.waitForSelector(".notice.good");
  check((await page.locator("section:has(#saved-h)").innerText()).includes("mine"), "it is not listed");
  await serious(page, "saved filters");
  await page.screenshot({ path: `${given.shots}/filter-saved.png`, fullPage: true });
  // A jail has it now, and bans by it.
  await page.goto(base + "/jails/saved/settings");
  await page.fill("#set-filter", "mine");
  await page.fill("#set-maxretry", "2");
  await page.locator("input[name=keep]").check();
  await page.click("form:has(#set-maxretry) button.main");
  await page.click("section:has(#diff-h) button.main");
  await page.waitForSelector(".notice.good");
  check(await reaches("192.0.2.76"), "192.0.2.76 is shut out before");
  for (let n = 0; n < 2; n++) refused();
  await until("192.0.2.76 is shut out by the saved filter", async () => !(await reaches("192.0.2.76")));
  await page.goto(base + "/jails/saved/settings");
  await page.click("form[action$='/forget'] button");
  await page.waitForSelector(".notice.good");
  await page.goto(base + "/filter");
  await page.click("form[action='/filter/save']:has(input[name=remove]) button");
  await page.waitForSelector("#diff-h");
  await page.click("section:has(#diff-h) button.main");
  await page.waitForSelector(".notice.good");
  check((await page.locator("#saved-h").count()) === 0, "it is still listed");
  allWell();
});

await step("what is wrong", async () => {
  await page.goto(base + "/");
  await until("the daemon has looked", async () => {
    await page.goto(base + "/doctor");
    return (await page.locator("#doctor .findings").count()) > 0;
  });
  const all = await page.locator("#doctor").innerText();
  check(all.includes("broken"), "jail broken is not told of: " + all.slice(0, 2000));
  check(all.includes("not looked at"), "nothing is told that can't be seen from inside: " + all.slice(0, 2000));
  check((await page.locator("#doctor .remedy").count()) > 0, "nothing is said to do about it");
  await serious(page, "doctor, looked");
  await page.goto(base + "/");
  check((await page.locator("#wrong .findings > li").count()) > 0, "the overview tells nothing of it");
  await page.goto(base + "/doctor");
  await page.click("form[action='/doctor'] button");
  await page.waitForURL("**/doctor?again=1");
  allWell();
});

// A log of last month, sent as a file: what it says of who would have been banned is counted here, too.
await step("what if", async () => {
  const lines = [];
  for (let n = 0; n < 5; n++) {
    for (let i = 0; i < 8; i++) lines.push(`2026-01-31T12:0${i}:0${n}Z login of root failed from 203.0.113.${10 + n}`);
  }
  lines.sort();
  const log = { name: "app.log.1", mimeType: "text/plain", buffer: Buffer.from(lines.join("\n") + "\n") };
  await page.goto(base + "/replay?jail=shop");
  await page.setInputFiles("#file", log);
  await page.fill("#maxretry", "2, 6, 9");
  await page.fill("#findtime", "1h");
  await page.click("form.replay button.main");
  await page.waitForSelector("table.sweep");
  const rows = await page.locator("table.sweep tbody tr").allInnerTexts();
  const numbers = rows.map((r) => r.split(/\s+/));
  for (const [retry, bans] of [["2", "5"], ["6", "5"], ["9", "0"]]) {
    check(numbers.some((r) => r.includes(retry) && r.at(-6) === bans), `maxretry ${retry} is not told with ${bans} bans: ${rows.join(" | ")}`);
  }
  check((await page.locator("main svg.chart rect").count()) > 5, "there is no picture");
  check((await page.locator("main").innerText()).includes("203.0.113.0/24"), "the network is not named");
  await serious(page, "what if, answered");
  await page.screenshot({ path: `${given.shots}/whatif-light-1400.png`, fullPage: true });
  for (const [scheme, width] of [["dark", 1400], ["light", 400], ["dark", 400]]) {
    await page.setViewportSize({ width, height: 900 });
    await page.emulateMedia({ colorScheme: scheme });
    check((await page.evaluate(() => document.documentElement.scrollWidth)) <= width, `the answer is wider than ${width}`);
    await page.screenshot({ path: `${given.shots}/whatif-${scheme}-${width}.png`, fullPage: true });
  }
  await page.setViewportSize({ width: 1400, height: 900 });
  await page.emulateMedia({ colorScheme: "light" });
  // The log that is there, with the numbers as they are.
  await page.goto(base + "/replay?jail=shop");
  await page.click("form.replay button.main");
  await page.waitForSelector("table.sweep");
  check((await page.locator("table.sweep tbody tr").count()) === 1, "more than the present setting is told");
  // Without script, too.
  const plain = await watched(await browser.newContext({ javaScriptEnabled: false }));
  const p = await plain.newPage();
  await login(p, "olga", given.password);
  await p.goto(base + "/replay?jail=shop");
  await p.setInputFiles("#file", log);
  await p.click("form.replay button.main");
  await p.waitForSelector("table.sweep");
  check((await p.locator("main").innerText()).includes("203.0.113.14"), "who would have been banned is not told");
  await plain.close();
  allWell();
});

await step("search box, theme, reload", async () => {
  await page.goto(base + "/");
  await page.fill("#find", "192.0.2.70");
  await page.press("#find", "Enter");
  await page.waitForURL("**/address?**");
  await page.selectOption("#theme", "dark");
  await page.waitForSelector("html[data-theme=dark]");
  await serious(page, "dark by choice");
  await page.selectOption("#theme", "auto");
  await page.waitForSelector("html[data-theme=auto]");
  await page.goto(base + "/jails");
  await page.click("form[action='/reload'] button");
  await page.waitForSelector(".notice");
  allWell();
});

await step("by keyboard", async () => {
  await page.goto(base + "/bans");
  await page.keyboard.press("Tab");
  check((await page.evaluate(() => document.activeElement.className)) === "skip", "the first stop is not the way past the menu");
  await page.keyboard.press("Enter");
  const seen = new Set();
  for (let n = 0; n < 25; n++) {
    await page.keyboard.press("Tab");
    const at = await page.evaluate(() => {
      const e = document.activeElement;
      const s = getComputedStyle(e);
      return { tag: e.tagName, visible: s.outlineStyle !== "none" || s.boxShadow !== "none", text: (e.innerText || e.value || e.name || "").slice(0, 30) };
    });
    check(at.tag === "BODY" || at.visible, `nothing shows where one is: ${at.tag} ${at.text}`);
    seen.add(at.tag + at.text);
  }
  check(seen.size > 5, "the keyboard comes nowhere");
  allWell();
});

await step("without script", async () => {
  const plain = await watched(await browser.newContext({ javaScriptEnabled: false }));
  const p = await plain.newPage();
  await login(p, "victor", given.password);
  for (const [name, path] of viewed) {
    const got = await p.goto(base + path);
    check(got.status() === 200 && (await p.locator("h1").count()) === 1, `${name}: ${got.status()}`);
  }
  await p.goto(base + "/events");
  check((await p.locator("table.events tbody tr").count()) > 0, "there are no events");
  await plain.close();
  allWell();
});

await step("a viewer changes nothing", async () => {
  const other = await watched(await browser.newContext());
  const p = await other.newPage();
  await login(p, "victor", given.password);
  for (const [name, path] of viewed) {
    await p.goto(base + path);
    const forms = await p.locator("main form[method=post]").count();
    check(forms === 0, `${name} has ${forms} forms that change something`);
  }
  check((await p.goto(base + "/filter")).status() === 403, "he may have filters tried");
  check((await p.goto(base + "/replay")).status() === 403, "he may have logs replayed");
  await p.goto(base + "/");
  const csrf = await p.locator("input[name=csrf]").first().inputValue();
  for (const [path, form] of [["/never", { ip: "192.0.2.70" }], ["/filter/save", { name: "his", filter: "failregex = 'x <ADDR>'", sure: "1" }], ["/jails/shop/settings", { maxretry: "9", sure: "1" }], ["/unban", { ip: "192.0.2.70" }], ["/ban", { ip: "192.0.2.70", jail: "shop" }], ["/allow", { ip: "192.0.2.70", for: "1h" }], ["/reload", {}]]) {
    const got = await other.request.post(base + path, { form: { csrf, to: "/", ...form }, headers: { Origin: base }, maxRedirects: 0 });
    check(got.status() === 403, `${path}: ${got.status()}`);
  }
  await other.close();
  allWell();
});

await step("forms of other pages", async () => {
  const form = { ip: "192.0.2.70", to: "/" };
  const csrf = await page.locator("input[name=csrf]").first().inputValue();
  for (const [what, more, headers] of [
    ["no token", {}, { Origin: base }],
    ["another token", { csrf: csrf.replace(/.$/, (c) => (c === "A" ? "B" : "A")) }, { Origin: base }],
    ["another origin", { csrf }, { Origin: "https://evil.example" }],
    ["another site by Sec-Fetch-Site", { csrf }, { Origin: base, "Sec-Fetch-Site": "cross-site" }],
  ]) {
    const got = await context.request.post(base + "/unban", { form: { ...form, ...more }, headers, maxRedirects: 0 });
    check(got.status() === 403, `${what}: ${got.status()}`);
  }
  for (const path of ["/assets/../web.go", "/assets/..%2f..%2fetc%2fpasswd", "/assets/%2e%2e/texts.toml", "/jails/..%2f..%2fetc", "//evil.example/"]) {
    const got = await context.request.get(base + path, { maxRedirects: 0 });
    check([400, 404, 301, 307].includes(got.status()) && !(got.headers().location || "").match(/^(https?:)?\/\/(?!\d)/), `${path}: ${got.status()} ${got.headers().location || ""}`);
  }
  for (const to of ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)"]) {
    await page.goto(base + "/login?to=" + encodeURIComponent(to));
    const value = (await page.locator("input[name=to]").count()) ? await page.locator("input[name=to]").first().inputValue() : "/";
    check(value.startsWith("/") && !value.startsWith("//") && !value.startsWith("/\\"), `to=${to} leads to ${value}`);
  }
  allWell();
});

// The payloads are in lines, users and ids (of the log), in a jail's name and in a log's name; here they
// go into what is asked for, too. None runs, and where they stand they stand as text.
await step("payloads", async () => {
  for (const p of given.payloads) line(p.replaceAll(/\s/g, "\u00a0"), "192.0.2.90");
  await until("the last payload is an event", async () => {
    const got = await context.request.get(base + "/events");
    return (await got.text()).includes("payload-49");
  });
  const paths = [...ways.map((w) => w[1]), ...given.evilWays];
  for (const [n, p] of given.payloads.entries()) {
    const q = encodeURIComponent(p);
    paths.push(`/bans?q=${q}`, `/address?ip=${q}`, `/events?ip=${q}&jail=${q}`, [`/find?q=${q}`, `/jails/${q}`, `/bans?sort=${q}&jail=${q}`, `/login?to=${q}`, `/events?kind=${q}`, `/${q}`][n % 6]);
  }
  let seen = 0;
  for (const path of paths) {
    await page.goto(base + path, { waitUntil: "domcontentloaded" });
    const state = await page.evaluate(() => ({ ran: window.ran, text: document.body.innerText, scripts: [...document.scripts].map((s) => s.src), on: [...document.querySelectorAll("*")].filter((e) => [...e.attributes].some((a) => a.name.startsWith("on"))).length, inline: [...document.scripts].filter((s) => !s.src).length, frames: document.querySelectorAll("iframe, object, embed, base, meta[http-equiv]").length, links: [...document.links].filter((l) => !/^https?:/.test(l.href)).map((l) => l.href) }));
    check(state.ran === undefined, path + ": it has run");
    check(state.inline === 0 && state.on === 0 && state.frames === 0 && state.links.length === 0, `${path}: ${JSON.stringify({ ...state, text: "" })}`);
    if (state.text.includes("payload-")) seen++;
  }
  check(seen > given.payloads.length, `payloads are to be seen on ${seen} pages only`);
  note(`${given.payloads.length} payloads, ${paths.length} pages, of which ${seen} show one`);
  await page.goto(base + "/events");
  await page.waitForSelector(".live.on");
  for (const p of given.payloads) line("again" + p.replaceAll(/\s/g, "\u00a0"), "192.0.2.91");
  await page.waitForFunction(() => document.body.innerText.includes("again"));
  await page.waitForTimeout(2000);
  check((await page.evaluate(() => window.ran)) === undefined, "one that came live has run");
  await page.hover("table.events tbody tr");
  await page.screenshot({ path: `${given.shots}/payloads.png` });
  allWell();
});

await step("screenshots", async () => { await shoot(ways); });

await step("logout", async () => {
  await page.goto(base + "/");
  const old = await context.cookies();
  await page.click("form[action='/logout'] button");
  await page.waitForURL("**/login**");
  await context.addCookies(old);
  await page.goto(base + "/bans");
  check(page.url().includes("/login"), "the old session is still good");
  allWell();
});

await step("eleven wrong logins", async () => {
  const other = await watched(await browser.newContext());
  const p = await other.newPage();
  p.setDefaultTimeout(5000);
  let tries = 0;
  try {
    for (; tries < 30; tries++) {
      await p.goto(base + "/login");
      await p.fill("#name", "olga");
      await p.fill("#password", "wrong " + tries);
      await p.click("main form button");
      await p.waitForSelector("[role=alert]");
    }
  } catch { /* the page is gone, as is to be seen below */ }
  note(`${tries} wrong logins were answered`);
  await until("the page's port is shut", async () => !(await reaches("192.0.2.66", given.port)));
  check(await reaches("192.0.2.67", given.port), "another address is shut out, too");
  await other.close();
  wrong.splice(0);
});

await browser.close();
