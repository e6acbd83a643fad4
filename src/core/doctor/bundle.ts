import { existsSync } from "node:fs";
import { arch, release } from "node:os";
import { join } from "node:path";
import { systemClock } from "../clock.ts";
import { RecordFile } from "../journal/file.ts";
import { messageOf } from "../model/errors.ts";
import { openHistory } from "../store/history.ts";
import { historyMigrations } from "../store/schema.ts";
import { userVersionIn } from "../store/user-version.ts";
import { isObject } from "../text/text.ts";
import { tailOf } from "./data-checks.ts";
import type { Examination } from "./doctor.ts";

const logBytes = 64 * 1024;
const maxEvents = 200;

/**
 * What another person needs to understand a fault here: the checks, the configuration as written, the last events without what
 * agents wrote, the end of the log, and how far the record of decisions reaches. Every secret is redacted by value, also one
 * that is written in a line, and paths below the home directory lose its name.
 */
export async function supportBundle({ checks, project }: Examination, version: string) {
  const { dataDir, checked, workflowPath, redactor, env } = project;
  const log = await tailOf(join(dataDir, "log", "symphony.log"), logBytes);
  const bundle = {
    format: "symphony-support-1",
    version,
    made_at: new Date(systemClock.wall()).toISOString(),
    machine: {
      node: process.versions.node,
      platform: process.platform,
      arch: arch(),
      release: release(),
    },
    workflow_path: workflowPath,
    data_dir: dataDir,
    checks,
    config: checked?.effective.written ?? null,
    origins: checked?.effective.origins ?? null,
    events: lastEvents(dataDir),
    journal: journalOf(dataDir),
    log: log.split("\n").slice(-500),
  };
  const home = env["HOME"] ?? "";
  const hide = (text: string) => {
    const safe = withoutWritten(redactor.redact(text));
    return home.length > 1 ? safe.replaceAll(home, () => "~") : safe;
  };
  return mapTexts(bundle, hide);
}

/**
 * Hides values that a hook or command has in its own text, by what comes before them: a variable named like a secret, a flag,
 * a scheme of the header Authorization, or the user of an address. A `$NAME` is no value.
 */
function withoutWritten(text: string): string {
  return text
    .replaceAll(
      /((?<![A-Z0-9_])[A-Z0-9_]{0,64}(?:KEY|TOKEN|SECRET|PASSWORD)[A-Z0-9_]{0,64}=["']?|\b(?:Bearer|Basic) +|--(?:token|password|secret|api-key)[= ]["']?)[^\s"'$;&|]+/g,
      "$1[redacted]",
    )
    .replaceAll(/(:\/\/[^\s/@:]{0,200}:)[^\s/@$]{1,400}(?=@)/g, "$1[redacted]");
}

/** Types, issues and outcomes; the messages of agents and the texts of issues stay here. */
function lastEvents(dataDir: string): unknown {
  const file = join(dataDir, "history.db");
  if (!existsSync(file)) return [];
  try {
    // Opening it would bring it to the format of this release.
    if (userVersionIn(file) !== historyMigrations.length) return "of another release";
    const history = openHistory(file);
    try {
      const afterSeq = Math.max(history.lastSeq() - maxEvents, 0);
      return history
        .events({ afterSeq, limit: maxEvents })
        .map(({ seq, type, at, issueIdentifier, attemptId, data }) => ({
          ...{ seq, type, at: new Date(at).toISOString() },
          ...{ issue_identifier: issueIdentifier, attempt_id: attemptId },
          outcome: data["outcome"] ?? data["status"] ?? null,
          error: data["code"] ?? data["error"] ?? null,
        }));
    } finally {
      history.close();
    }
  } catch (error) {
    return { unreadable: messageOf(error) };
  }
}

function journalOf(dataDir: string): unknown {
  const path = join(dataDir, "record.db");
  if (!existsSync(path)) return null;
  try {
    const file = new RecordFile(path);
    try {
      return file
        .segments()
        .map(({ at, ...rest }) => ({ ...rest, at: new Date(at).toISOString() }));
    } finally {
      file.close();
    }
  } catch (error) {
    return { unreadable: messageOf(error) };
  }
}

function mapTexts(value: unknown, map: (text: string) => string): unknown {
  if (typeof value === "string") return map(value);
  if (Array.isArray(value)) return value.map((one) => mapTexts(one, map));
  if (!isObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, one]) => [map(key), mapTexts(one, map)]),
  );
}
