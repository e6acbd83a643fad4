import { existsSync } from "node:fs";
import { arch, release } from "node:os";
import { join } from "node:path";
import { systemClock } from "../clock.ts";
import { RecordFile } from "../journal/file.ts";
import { messageOf } from "../model/errors.ts";
import { openToRead } from "../store/database.ts";
import { EventTable } from "../store/events.ts";
import { historyMigrations } from "../store/schema.ts";
import { isObject } from "../text/text.ts";
import { tailOf } from "./data-checks.ts";
import type { Examination } from "./doctor.ts";

const logBytes = 64 * 1024;
const maxEvents = 200;
const otherRelease = "of another release";

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

/** Words in the names of variables, flags, headers and fields whose values are secret. */
const secretName =
  "[\\w.:/-]{0,64}(?:(?:api|access|secret|private|signing|auth|account|service|encryption)[-_]?key|token(?!s)|secret|passw|pass(?![a-z])|passphrase|pwd|credential|authtoken|signature)[\\w.-]{0,64}";
/** `$NAME`, `${NAME}` and `$(command)` are no values. */
const isWritten = "(?![\"']?\\\\?\\$(?:\\(|(?:\\w+|\\{\\w+\\})(?:[\\s\"'/:@&;,)}]|$)))";
const bare = "(?:\\\\.|[^\\s\"'\\\\;&|])";
/** One word of a shell or one string of JSON, in its quotes. */
const value = `${isWritten}(?:\\\\?"(?:\\\\[^"]|[^"\\\\])*\\\\?"|'[^']*'|${bare}+)(?:(?:"(?=[^\\s"])[^"]*"|'(?=[^\\s'])[^']*')${bare}*)*`;
const writtenSecrets = [
  `(\\b${secretName}["']?\\s{0,3}=\\s{0,3}|[?&](?:key|sig|code)=|(?-i:(?<![A-Za-z0-9_])[A-Z0-9_]{0,64}KEY[A-Z0-9_]{0,64})=)${value}`,
  `(\\$\\{${secretName}:?[-=+])[^}]+`,
  // A bare word before a colon is often a sentence; a field stands first, in quotes, or has two words in its name.
  `((?:^|[[{,"'\\n]|\\b(?=[\\w.]+[-_.]))\\s*\\b${secretName}\\\\?["']?\\s{0,3}:\\s{0,3})(?!(?-i:[A-Z]+_[A-Z_]+)\\b)${value}`,
  `((?<![\\w-])--?${secretName}(?:=|\\s+))${value}`,
  `(\\b(?:Bearer|Basic|Digest|Negotiate) +)${isWritten}${bare}+`,
  `(\\b(?:authorization|cookie)\\\\?["']?\\s*[:=]\\s*\\\\?["']?)(?!\\s*(?:\\w+ +)?(?:\\$|\\[redacted))[^"'\\n\\\\]+`,
  `((?<![\\w-])(?:-[a-z]*u|--(?:proxy-)?user|--auth|--creds?)(?:=|\\s*)["']?[^\\s:"']{0,200}:)${isWritten}(?:(?<=["'][^"'\\n]{0,200}:)[^"'\\n]+|${bare}+)`,
  `(\\b(?:sshpass|mysql\\w*|mariadb[\\w-]*|login|redis-cli|ldap\\w+)\\b[^\\n;&|]{0,200}?\\s-[paw] ?|\\blogin \\S{1,200} password )${value}`,
  `(\\b(?:echo|printf) +(?:-\\S{1,9} +)?)${value}(?=[^\\n;]{0,200}\\|[^\\n]{0,200}password-stdin)`,
  `(:\\/\\/[^\\s/@:"']{0,200}:)${isWritten}[^\\s/@"']{1,400}(?=@)`,
  `(:\\/\\/)(?=[^\\s/@:"']*\\d)[\\w.~%+-]{16,400}(?=@)`,
].map((source) => new RegExp(source, "gi"));

/** Hides values that a hook or command has in its own text, by what comes before or after them. */
export function withoutWritten(text: string): string {
  return writtenSecrets.reduce((safe, pattern) => safe.replaceAll(pattern, "$1[redacted]"), text);
}

/** Types, issues and outcomes; the messages of agents and the texts of issues stay here. */
function lastEvents(dataDir: string): unknown {
  const file = join(dataDir, "history.db");
  if (!existsSync(file)) return [];
  try {
    const db = openToRead(file, historyMigrations);
    if (db === null) return otherRelease;
    try {
      const events = new EventTable(db);
      const afterSeq = Math.max(events.lastSeq - maxEvents, 0);
      return events
        .page({ afterSeq, limit: maxEvents })
        .map(({ seq, type, at, issueIdentifier, attemptId, data }) => ({
          ...{ seq, type, at: new Date(at).toISOString() },
          ...{ issue_identifier: issueIdentifier, attempt_id: attemptId },
          outcome: data["outcome"] ?? data["status"] ?? null,
          error: data["code"] ?? data["error"] ?? null,
        }));
    } finally {
      db.close();
    }
  } catch (error) {
    return { unreadable: messageOf(error) };
  }
}

function journalOf(dataDir: string): unknown {
  const path = join(dataDir, "record.db");
  if (!existsSync(path)) return null;
  try {
    const file = RecordFile.openToRead(path);
    if (file === null) return otherRelease;
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
    Object.entries(value).map(([key, one]) => {
      // By its name, as in a line.
      const hidden = typeof one === "string" ? map(`${key}: ${one}`) : "";
      return [
        map(key),
        hidden.startsWith(`${key}: [redacted]`) ? "[redacted]" : mapTexts(one, map),
      ];
    }),
  );
}
