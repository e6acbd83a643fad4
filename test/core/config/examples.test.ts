import assert from "node:assert/strict";
import { globSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { parse } from "yaml";
import { checkConfig } from "../../../src/core/config/check.ts";
import { findingText } from "../../../src/core/config/finding.ts";
import { isMap } from "../../../src/core/config/schema.ts";
import { fileChecks } from "../../../src/core/file-checks.ts";
import { kinds, sections } from "../../../src/core/kinds.ts";
import { loadTracker } from "../../../src/core/tracker/kinds.ts";
import { temporaryDir } from "../../support/makers/storage.ts";

const root = new URL("../../../", import.meta.url).pathname;
const env = {
  ...{ PATH: process.env["PATH"], LINEAR_API_KEY: "lin_api_0123456789abcdef" },
  SYMPHONY_I_UNDERSTAND: "1",
};

/** The part of `symphony config check` that asks neither the machine nor the tracker. */
async function findingsIn(
  text: string,
  path: string,
  home = homedir(),
): Promise<readonly string[]> {
  const other = (name: string) => (name.endsWith("_URL") ? "https://receiver.example/" : "set");
  const lookup = (name: string) => (name in env ? env[name as keyof typeof env] : other(name));
  const { findings } = await checkConfig(Buffer.from(text), {
    ...{ sections, workflowPath: path, env, flags: {}, home },
    checks: fileChecks({
      ...{ env, lookup, redactor: { add() {} } },
      checkTracker: async (next) => (await loadTracker(kinds.trackers, next)).check(next, lookup),
    }),
  });
  return findings.map(findingText);
}

interface Snippet {
  readonly name: string;
  readonly text: string;
}

/** A part of a workflow file, as a page shows it; null for another kind of YAML. */
function workflowOf(language: string, body: string): string | null {
  // An issue in Markdown has front matter too, but no tracker.
  if (language === "markdown") return /^---\n(?:.*\n)*?tracker:/.test(body) ? body : null;
  const values: unknown = parse(body);
  if (!isMap(values) || !Object.keys(values).some((key) => sections.names.has(key))) return null;
  const { agent } = values;
  const section = sections.agents.find(({ kind }) => isMap(values[kind]));
  const kind = section && { agent: { kind: section.kind, ...(isMap(agent) && agent) } };
  const isWhole = isMap(values["tracker"]) && values["tracker"]["kind"] !== undefined && !kind;
  const tracker = { kind: "local", ...(isMap(values["tracker"]) && values["tracker"]) };
  const text = isWhole ? body : JSON.stringify({ ...values, ...kind, tracker });
  return `---\n${text}\n---\nWork on {{ issue.title }}\n`;
}

function snippetsIn(page: string): readonly Snippet[] {
  const text = readFileSync(`${root}${page}`, "utf8");
  return [...text.matchAll(/^```(yaml|markdown)\n(.*?)^```$/gms)].flatMap((match) => {
    const [, language = "", body = ""] = match;
    const line = text.slice(0, match.index).split("\n").length;
    const found = workflowOf(language, body);
    return found === null ? [] : [{ name: `${page}:${line}`, text: found }];
  });
}

const pages = ["README.md", ...globSync("docs/**/*.md", { cwd: root })].sort();
const snippets = pages.flatMap(snippetsIn);

describe("config check finds nothing wrong with what the documentation shows", () => {
  test("there are snippets", () => assert.ok(snippets.length >= 10, `${snippets.length}`));
  for (const name of globSync("examples/*.md", { cwd: root })) {
    test(name, async () => {
      const path = `${root}${name}`;
      assert.deepEqual(await findingsIn(readFileSync(path, "utf8"), path), []);
    });
  }
  for (const { name, text } of snippets) {
    test(name, async (t) => {
      // The files that a snippet names are next to it, or one level up.
      const home = temporaryDir(t);
      mkdirSync(join(home, "project"));
      writeFileSync(join(home, "WORKFLOW.md"), "---\ntracker: { kind: local }\n---\nhi\n");
      writeFileSync(join(home, "project", "review.md"), "Review {{ issue.title }}\n");
      assert.deepEqual(await findingsIn(text, join(home, "project", "WORKFLOW.md"), home), []);
    });
  }
});
