import { faults, type Mutant } from "./mutant.ts";

const folder = "src/core/delivery/github";
const tests = (name: string) => [`test/core/delivery/github/${name}.test.ts`];
const api = "src/core/github";
const ofApi = (name: string) => [`test/core/github/${name}.test.ts`];

/** Faults of the delivery to a site with pull requests. */
export const ofTheDelivery: readonly Mutant[] = [
  ...faults(
    { file: `${folder}/forge.ts`, tests: tests("forge") },
    [
      "delivery: a fork's pull request of the same branch is taken for ours",
      "head.repo?.id === facts.id && head.ref === branch",
      "head.ref === branch",
    ],
    [
      "delivery: a pull request is ours without the marker",
      "listed.filter(({ body }) => body.includes(marker))",
      "listed",
    ],
    [
      "delivery: the default branch is looked up",
      "if (branch === facts.defaultBranch) return [];",
      "",
    ],
    [
      "delivery: a marker that another person quotes stops our comment",
      "one.body.includes(marker) && isOurs(one)",
      "one.body.includes(marker)",
    ],
    ["delivery: a merge names no head", "        sha: head,\n", ""],
  ),
  ...faults(
    { file: `${folder}/checks.ts`, tests: tests("observe") },
    [
      "delivery: a conclusion that is not known is a success",
      'return conclusions[run.conclusion ?? ""] ?? "waiting";',
      'return conclusions[run.conclusion ?? ""] ?? "success";',
    ],
    [
      "delivery: protection that may not be read requires nothing",
      "protection ?? (found.protected ? null : [])",
      "protection ?? []",
    ],
    [
      "delivery: a cancelled check that was replaced counts",
      'return isLast || stateOf(run) !== "cancelled";',
      "return true;",
    ],
    ["delivery: a check is run again twice", "if (run.run_attempt > check.attempt) return;", ""],
  ),
  ...faults({ file: `${api}/client.ts`, tests: ofApi("client") }, [
    "delivery: a full page ends a list",
    "if (!answer.hasNext && items.length < perPage) return all;",
    "if (!answer.hasNext) return all;",
  ]),
  ...faults({ file: `${api}/rate-limits.ts`, tests: ofApi("client") }, [
    "delivery: a reached limit is not remembered",
    "this.#notBefore[one] = Math.max(this.#notBefore[one], until);",
    "",
  ]),
  ...faults({ file: `${api}/client.ts`, tests: tests("observe"), only: "the log of a failed" }, [
    "delivery: the log's store gets the token",
    'outbound(location, { headers: agent, signal }, "log of a check")',
    'outbound(location, { headers: { ...agent, authorization }, signal }, "log of a check")',
  ]),
  ...faults(
    { file: `${api}/answers.ts`, tests: ofApi("client") },
    [
      "delivery: a redirect takes the credential to another host",
      "if (location.origin !== new URL(url).origin) {",
      "if (location.origin === null) {",
    ],
    [
      "delivery: a wait is counted by our own clock",
      "waitMs = reset * 1_000 - theirs;",
      "waitMs = reset * 1_000 - judge.wall;",
    ],
  ),
  ...faults({ file: `${folder}/webhook.ts`, tests: tests("webhook") }, [
    "delivery: a delivery without a signature is accepted",
    "return given !== undefined && sameText(",
    "return given === undefined || sameText(",
  ]),
  ...faults({ file: `${api}/account.ts`, tests: tests("forge") }, [
    "delivery: rights that cannot be read count as none",
    'return error.category === "not_found" ? false : null;',
    "return false;",
  ]),
  ...faults({ file: `${api}/settings.ts`, tests: ofApi("settings") }, [
    "delivery: an address that begins like the site's is the site's",
    'if (protocol !== "ssh") return host === web;',
    'if (protocol !== "ssh") return host.startsWith(web);',
  ]),
];
