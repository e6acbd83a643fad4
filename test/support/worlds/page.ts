import assert from "node:assert/strict";
import { existsSync, mkdirSync, realpathSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import type { Step } from "../../../src/demo/script.ts";

const executablePath = process.env["SYMPHONY_CHROMIUM"] ?? "/usr/bin/chromium";
const agentFile = fileURLToPath(new URL("../../../src/demo/agent.ts", import.meta.url));
const slow = 60_000;

/** A project of the local tracker whose agents play `turns`. */
export async function pageProject(
  turns: Readonly<Record<string, readonly (readonly Step[])[]>>,
  more: object = {},
) {
  const root = realpathSync(await mkdtemp(join(tmpdir(), "symphony-page-")));
  mkdirSync(join(root, "home"));
  const parts = [process.execPath, agentFile, "--script", join(root, "script.json")];
  const command = [...parts, "--state", join(root, "agent")].map((part) => `"${part}"`).join(" ");
  await writeFile(join(root, "script.json"), JSON.stringify({ issues: turns }));
  const front = {
    tracker: { kind: "local" },
    polling: { interval_ms: 1_000 },
    workspace: { root: join(root, "workspaces") },
    agent: { approvals: "ask" },
    // A busy machine is no reason for these agents to wait.
    host: { min_memory: 0, max_load: 0 },
    codex: { command, read_timeout_ms: 30_000 },
    ...more,
  };
  await writeFile(join(root, "WORKFLOW.md"), `---\n${JSON.stringify(front)}\n---\nDo it.\n`);
  return {
    ...{ root, workflowPath: join(root, "WORKFLOW.md"), dataDir: join(root, ".symphony") },
    env: { HOME: join(root, "home") },
    async [Symbol.asyncDispose]() {
      await rm(root, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

export function launchBrowser(): Promise<Browser> {
  assert.ok(existsSync(executablePath), `SYMPHONY_CHROMIUM: no browser at ${executablePath}`);
  const args = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"];
  return chromium.launch({ executablePath, args });
}

/** A page of its own, whose complaints and requests to elsewhere are kept. */
export async function openPage(browser: Browser, url: string, options: BrowserContextOptions = {}) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.setDefaultTimeout(slow);
  const complaints: string[] = [];
  page.on("console", (message) => {
    if (message.type() === "error") complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("request", (request) => {
    if (new URL(request.url()).host !== new URL(url).host) complaints.push(request.url());
  });
  await page.goto(url);
  return { page, context, complaints, [Symbol.asyncDispose]: () => context.close() };
}

export const lane = (page: Page, name: string) => page.locator(`#lane-${name}`);
