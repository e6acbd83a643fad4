import { fileURLToPath } from "node:url";
import type { Browser, Page } from "playwright-core";
import type { Step } from "../src/demo/script.ts";
import { lane, launchBrowser, openPage, pageProject } from "../test/support/worlds/page.ts";
import { hugeDiff } from "../test/support/worlds/page-diff.ts";
import { Served } from "../test/support/worlds/symphony.ts";

// The page at `/` with 1,000 issues in a real Chromium, against a real server whose agents talk: the longest task of the
// page's main thread in each situation, by Chromium's own trace. "ms" is elapsed time and contains what else the machine
// does; "CPU" is what the thread itself used, and what the limit is compared with.

const issues = 1_000;
const limitMs = 50;
/** Rows that one event may change. */
const rowLimit = 1;

interface TraceEvent {
  readonly name: string;
  readonly ph: string;
  readonly pid: number;
  readonly tid: number;
  /** µs. */
  readonly dur?: number;
  /** µs of the thread's own time. */
  readonly tdur?: number;
  readonly args?: { readonly name?: string };
}

interface Longest {
  readonly what: string;
  readonly ms: number;
  readonly cpuMs: number;
}

/** The longest task of the page's main thread while `act` runs. */
async function longest(
  browser: Browser,
  page: Page,
  what: string,
  act: () => Promise<unknown>,
): Promise<Longest> {
  await browser.startTracing(page, { categories: ["toplevel", "devtools.timeline", "__metadata"] });
  await act();
  const trace = JSON.parse(String(await browser.stopTracing())) as { traceEvents: TraceEvent[] };
  const mains = new Set(
    trace.traceEvents
      .filter(({ name, args }) => name === "thread_name" && args?.name === "CrRendererMain")
      .map(({ pid, tid }) => `${pid} ${tid}`),
  );
  const tasks = trace.traceEvents.filter(
    ({ name, ph, pid, tid }) =>
      ph === "X" &&
      mains.has(`${pid} ${tid}`) &&
      /^(?:RunTask|ThreadControllerImpl::RunTask)$/.test(name),
  );
  if (tasks.length === 0) throw new Error(`the trace of "${what}" has no task`);
  const most = (of: (task: TraceEvent) => number) => Math.max(...tasks.map(of)) / 1_000;
  return { what, ms: most(({ dur = 0 }) => dur), cpuMs: most(({ tdur, dur = 0 }) => tdur ?? dur) };
}

const chatter: readonly Step[] = [
  ...Array.from({ length: 2_000 }, (_, at): readonly Step[] => [
    { do: "say", text: `word ${at}` },
    { do: "tokens", input: 100, cachedInput: 0, output: 10 },
    { do: "sleep", ms: 20 },
  ]).flat(),
  { do: "hang" },
];
const turns = Object.fromEntries([1, 2, 3, 4].map((at) => [`LOCAL-${at}`, [chatter]]));

/** Rows whose content changes from now on, by the name of their issue. */
const watchRows = `
  globalThis.touched = new Set();
  globalThis.observer?.disconnect();
  globalThis.observer = new MutationObserver((changes) => {
    for (const { target } of changes) {
      const element = target.nodeType === 1 ? target : target.parentElement;
      const row = element?.closest(".rows > li");
      if (row) globalThis.touched.add(row.querySelector("a")?.textContent);
    }
  });
  globalThis.observer.observe(document.querySelector("main"), { subtree: true, childList: true, characterData: true });
`;

/** The most queued rows that the change of one title touches. */
async function rowsOfOneEvent(page: Page, server: Served): Promise<number> {
  let most = 0;
  for (let at = 0; at < 8; at++) {
    const id = `LOCAL-${10 + at}`;
    await page.evaluate(watchRows);
    await server.client.issues.edit({ params: { id }, body: { title: `Renamed ${at}` } });
    await lane(page, "queued").getByText(`Renamed ${at}`).waitFor();
    const touched = (await page.evaluate("[...globalThis.touched]")) as string[];
    most = Math.max(most, touched.filter((name) => !(name in turns)).length);
  }
  return most;
}

const quiet = (page: Page, ms: number) => page.waitForTimeout(ms);

async function scrolled(page: Page): Promise<void> {
  await page.mouse.move(400, 400);
  const height = Number(await page.evaluate("document.documentElement.scrollHeight"));
  for (let y = 0; y < height; y += 900) {
    await page.mouse.wheel(0, 900);
    await quiet(page, 60);
  }
  await page.evaluate("scrollTo(0, 0)");
}

async function searched(page: Page): Promise<void> {
  await page.getByLabel("Search").pressSequentially("number 77", { delay: 80 });
  // Rows are read beyond those that are shown.
  await page.getByRole("link", { name: "LOCAL-777", exact: true }).waitFor();
  for (let at = 0; at < "number 77".length; at++) {
    await page.keyboard.press("Backspace");
    await quiet(page, 80);
  }
  await quiet(page, 1_000);
}

async function board(browser: Browser): Promise<{ found: Longest[]; rows: number }> {
  await using place = await pageProject(turns, {
    agent: { approvals: "ask", max_concurrent_agents: 4 },
    polling: { interval_ms: 2_000 },
  });
  await using server = await Served.start(place);
  for (let at = 1; at <= issues; at++) {
    const labels = [["web", "api", "docs"][at % 3] ?? ""];
    await server.client.issues.create({ body: { title: `The issue number ${at}`, labels } });
  }
  await using shown = await openPage(browser, "about:blank");
  const { page } = shown;
  const live = () => page.locator(".badge.live").waitFor();
  const found = [
    await longest(browser, page, "load", async () => {
      await page.goto(server.url);
      await live();
      await quiet(page, 3_000);
    }),
    await longest(browser, page, "events", () => quiet(page, 10_000)),
    await longest(browser, page, "scroll", () => scrolled(page)),
    await longest(browser, page, "search", () => searched(page)),
    await longest(browser, page, "an issue and back", async () => {
      await page.locator(".lane.running .issue a").first().click();
      await page.locator(".timeline li").first().waitFor();
      await quiet(page, 3_000);
      await page.goBack();
      await lane(page, "queued").waitFor();
      await quiet(page, 2_000);
    }),
  ];
  return { found, rows: await rowsOfOneEvent(page, server) };
}

async function diff(browser: Browser): Promise<{ found: Longest; answerMs: number }> {
  await using made = await hugeDiff();
  const began = performance.now();
  await (await fetch(`${made.server.url}/api/v1/LOCAL-1/diff`)).text();
  const answerMs = performance.now() - began;
  await using shown = await openPage(browser, "about:blank");
  const { page } = shown;
  const found = await longest(browser, page, "a huge diff", async () => {
    await page.goto(`${made.server.url}/#/issue/LOCAL-1`);
    await page.locator("#diff pre").first().waitFor();
    await quiet(page, 1_500);
  });
  return { found, answerMs };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const browser = await launchBrowser();
  try {
    const { found, rows } = await board(browser);
    const huge = await diff(browser);
    const all = [...found, huge.found];
    const missed = all.some(({ cpuMs }) => cpuMs > limitMs) || rows > rowLimit;
    if (missed) process.exitCode = 1;
    const line = ({ what, ms, cpuMs }: Longest) =>
      `${what.padEnd(20)} ${ms.toFixed(0).padStart(5)} ms ${cpuMs.toFixed(0).padStart(5)} CPU`;
    process.stdout.write(
      `${[
        `${issues} issues, the longest task of the page, limit ${limitMs} ms of CPU`,
        ...all.map(line),
        `rows that one event changes: ${rows}, limit ${rowLimit}`,
        `the server's answer with a huge diff: ${huge.answerMs.toFixed(0)} ms`,
        ...(missed ? ["MISSED"] : []),
      ].join("\n")}\n`,
    );
  } finally {
    await browser.close();
  }
}
