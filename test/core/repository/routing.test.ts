import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import fc from "fast-check";
import {
  branchNames,
  gitSecretNames,
  isBranchName,
  isGitAddress,
  parseGitAddress,
} from "../../../src/core/config/git.ts";
import { toConfig } from "../../../src/core/config/resolve.ts";
import { parseWritten } from "../../../src/core/config/schema.ts";
import { sections } from "../../../src/core/kinds.ts";
import { SymphonyError } from "../../../src/core/model/errors.ts";
import {
  branchFor,
  freeBranch,
  matchInWords,
  nameable,
  repositoryFor,
} from "../../../src/core/repository/routing.ts";
import { createRedactor } from "../../../src/core/text/redact.ts";
import { issue } from "../../support/makers/issue.ts";

type Values = Readonly<Record<string, unknown>>;

function gitOf(...repositories: readonly Values[]) {
  const written = parseWritten({ tracker: { kind: "local" }, git: { repositories } }, sections);
  return toConfig(written, "/nowhere", sections).git;
}

function problemsOf(...repositories: readonly Values[]): string {
  try {
    gitOf(...repositories);
  } catch (error) {
    assert.ok(error instanceof SymphonyError);
    return error.message;
  }
  return assert.fail("it should have been refused");
}

const app = { name: "app", url: "https://github.com/you/app.git" };

test("a repository matches by the tracker's team and project too", () => {
  const { repositories } = gitOf(
    { ...app, name: "site", match: { projects: ["Web Site", "a79254"] } },
    { ...app, name: "core", match: { teams: ["eng"] } },
  );
  const team = { id: "1", key: "ENG", name: "Engineering" };
  const project = (slug: string, name: string) => ({ id: "2", slug, name });
  const to = (...given: Parameters<typeof issue>) => repositoryFor(issue(...given), repositories);
  assert.equal(to("X-1", { project: project("b1", " web site") })?.name, "site");
  assert.equal(to("X-1", { team, project: project("A79254", "Other") })?.name, "site");
  assert.equal(to("X-1", { team, project: project("b1", "Other") })?.name, "core");
  assert.equal(to("ENG-1"), null);
  assert.deepEqual(
    repositories.map(({ match }) => matchInWords(match)),
    ["project web site or a79254", "team eng"],
  );
});

test("an issue goes to the first repository that matches it; one without match accepts every issue", () => {
  const { repositories } = gitOf(
    { ...app, name: "api", match: { labels: [" Backend ", "api"], states: ["todo"] } },
    { ...app, name: "ops", match: { prefixes: ["OPS"] } },
    { ...app, name: "rest" },
  );
  const to = (...given: Parameters<typeof issue>) => repositoryFor(issue(...given), repositories);
  assert.equal(to("ENG-1", { labels: ["ui", "backend"] })?.name, "api");
  assert.equal(to("ENG-1", { labels: ["backend"], state: "Rework" })?.name, "rest");
  assert.equal(to("ops-7")?.name, "ops");
  assert.equal(to("OPSX-7")?.name, "rest");
  assert.equal(repositoryFor(issue("ENG-1"), repositories.slice(0, 2)), null);
  assert.equal(repositoryFor(issue("ENG-1"), []), null);
  assert.deepEqual(
    repositories.map(({ match }) => matchInWords(match)),
    ["label backend or api and state todo", "prefix ops", "every issue"],
  );
});

test("the branch is the tracker's if it is valid, otherwise made from the identifier, and never the base", () => {
  const template = "{{ issue.branch_name }} or symphony/{{ issue.identifier }}-{{ issue.slug }}";
  const [repository] = gitOf({ ...app, branch_template: template }).repositories;
  assert.ok(repository);
  const of = (branchName: string | null, identifier = "ENG-1", base: string | null = "main") =>
    branchFor(repository, { identifier, title: "", branchName }, base);
  assert.equal(of("ada/eng-1-login"), "ada/eng-1-login");
  for (const hostile of [
    null,
    "",
    "main",
    "Main",
    "main/x",
    "main/eng-1",
    "production",
    "-eng-1",
    "eng-1..x",
    "HEAD",
    "refs/heads/main",
    "-b",
    "--upload-pack=touch x",
    "a..b",
    "@{-1}",
    "a b",
    "a\nb",
    "x;touch y",
    "$(x)",
    "`x`",
    "a.lock",
    "a/.b",
    "ä",
    "a".repeat(201),
    "0".repeat(40),
  ]) {
    assert.equal(of(hostile), "symphony/ENG-1", String(hostile));
  }
  assert.match(of(null, "team/a 1"), /^symphony\/team_a_1--[0-9a-f]{16}$/);
  assert.match(of(null, "a..b"), /^symphony-[0-9a-f]{16}$/);
  assert.match(of(null, "ENG-1", "symphony"), /^symphony-[0-9a-f]{16}$/);
  const [own] = gitOf({ ...app, branch_template: "work/{{issue.identifier}}" }).repositories;
  assert.equal(own && branchFor(own, issue("ENG-1", { branchName: "x" }), "main"), "work/ENG-1");
});

test("the default branch has the identifier and words of the title", () => {
  const [repository] = gitOf(app).repositories;
  assert.ok(repository);
  const of = (title: string) =>
    branchFor(repository, { identifier: "ENG-1", title, branchName: null }, "main");
  for (const [title, slug] of [
    ["Login fails: 500 on /sign-in", "-login-fails-500-on-sign-in"],
    ["Über Größe, naïve café", "-uber-gro-e-naive-cafe"],
    ["登录失败", ""],
    ["", ""],
    ["../../etc $(x) `y` --upload-pack", "-etc-x-y-upload-pack"],
    ["a".repeat(60), `-${"a".repeat(40)}`],
    [`${"word ".repeat(20)}`, "-word-word-word-word-word-word-word-word"],
  ]) {
    assert.equal(of(title ?? ""), `symphony/ENG-1${slug}`);
  }
  const words = { "issue.identifier": "ENG-1", "issue.slug": "", "issue.branch_name": null };
  assert.deepEqual(
    branchNames("{{ issue.slug }}-{{issue.identifier}} or x/{{ issue.slug }}", words),
    ["ENG-1"],
  );
});

test("a free branch differs from the taken ones in more than its case, and is neither above nor below one", () => {
  for (const [wanted, taken, expected] of [
    ["symphony/a", [], "symphony/a"],
    ["symphony/a", ["main", "symphony/b", "symphony/a-b"], "symphony/a"],
    ["symphony/a", ["Symphony/A"], "symphony/a-2"],
    ["symphony/a", ["symphony/a", "symphony/a-2"], "symphony/a-3"],
    ["symphony/a", ["symphony/a/x"], "symphony/a-2"],
    ["symphony/a", ["symphony"], "symphony-a"],
    ["symphony/a", ["SYMPHONY", "symphony-a"], "symphony-a-2"],
    ["a", ["a"], "a-2"],
  ] as const) {
    assert.equal(freeBranch(wanted, taken), expected);
  }
  const full = "a".repeat(200);
  assert.match(freeBranch(full, [full]), /^symphony-[0-9a-f]{16}$/);
});

test("THREAT-16: for any text of an issue, the branch is a valid branch name for git", () => {
  const hostile = fc.oneof(
    fc.string(),
    fc.string({ unit: "binary" }),
    fc.constantFrom("-x", "..", "a..b", "@{-1}", "a.lock", "x/", "/x", "a//b", "x.", "@", "HEAD"),
    fc.stringMatching(/^[A-Za-z0-9._/@{}~^:-]{1,30}$/),
  );
  const identifier = hostile.filter((text) => {
    const { length } = text;
    return text.trim() !== "" && text !== "." && text !== ".." && length < 150;
  });
  const base = fc.option(fc.constantFrom("main", "symphony", "release/2"));
  const template = "{{ issue.branch_name }} or symphony/{{ issue.identifier }}-{{ issue.slug }}";
  const [repository] = gitOf({ ...app, branch_template: template }).repositories;
  assert.ok(repository);
  const made = new Set<string>();
  fc.assert(
    fc.property(identifier, hostile, fc.option(hostile), base, (name, title, branchName, from) => {
      const branch = branchFor(repository, { identifier: name, title, branchName }, from);
      assert.ok(isBranchName(branch), branch);
      assert.notEqual(branch, from);
      made.add(branch);
    }),
    { numRuns: 2_000 },
  );
  for (const branch of [...made].slice(0, 60)) {
    const git = spawnSync("git", ["check-ref-format", "--branch", branch], { encoding: "utf8" });
    assert.deepEqual([git.status, git.stdout], [0, `${branch}\n`]);
  }
});

test("which addresses are usable, and where their credential is", () => {
  const good = {
    "https://github.com/you/app.git": ["https", "https://github.com/you/app.git"],
    "https://$TOKEN@github.com/you/app.git": ["https", "https://github.com/you/app.git"],
    "http://127.0.0.1:3000/app.git": ["http", "http://127.0.0.1:3000/app.git"],
    "ssh://git@github.com:22/you/app.git": ["ssh", "ssh://git@github.com:22/you/app.git"],
    "git@github.com:you/app.git": ["ssh", "git@github.com:you/app.git"],
    "/srv/git/app.git": ["file", "/srv/git/app.git"],
    "file:///srv/git/app.git": ["file", "file:///srv/git/app.git"],
  };
  for (const [written, expected] of Object.entries(good)) {
    const found = parseGitAddress(written);
    assert.ok(isGitAddress(found), written);
    assert.deepEqual([found.protocol, found.address], expected);
  }
  for (const bad of [
    "ext::sh -c x",
    "ext::touch",
    "fd::17",
    "--upload-pack=x",
    "-x:y",
    "ssh://-oProxyCommand=x/y",
    "-oProxyCommand=x@host:y",
    "git@-host:y",
    "git@host:-y",
    "http://github.com/app.git",
    "git://github.com/app.git",
    "https://github.com/app.git?token=canary",
    "https://ada:canary@github.com/app.git",
    "https://canary@github.com/app.git",
    "https://$TOKEN:canary@github.com/app.git",
    "ssh://git:canary@github.com/app.git",
    "file://host/app.git",
    "../app.git",
    "app.git",
    "https://github.com/a b",
    "",
  ]) {
    const found = parseGitAddress(bad);
    assert.ok(!isGitAddress(found), bad);
    assert.doesNotMatch(found.problem, /canary/);
  }
  const git = gitOf(app, { name: "b", url: "https://ada:$B_TOKEN@example.org/b.git" });
  assert.deepEqual(gitSecretNames(git), ["B_TOKEN"]);
});

test("a repository that cannot be used is refused by its key, without its value", () => {
  const told = problemsOf({ ...app, url: "https://ada:canary@example.org/app.git" });
  assert.match(
    told,
    /git\.repositories\.0\.url must name its credential, as in https:\/\/\$TOKEN@/,
  );
  assert.doesNotMatch(told, /canary/);
  assert.match(
    problemsOf(app, { ...app, name: "APP" }),
    /repositories must each have a different name/,
  );
  assert.match(problemsOf({ ...app, name: "../x" }), /repositories\.0\.name must be letters/);
  assert.match(
    problemsOf({ ...app, matches: {} }),
    /git\.repositories\.0 must be a map of .* and nothing else/,
  );
  assert.match(
    problemsOf({ ...app, match: { label: [] } }),
    /repositories\.0\.match must be a map of labels/,
  );
  assert.match(problemsOf({ ...app, base_branch: "-x" }), /base_branch must be the name/);
  for (const template of ["{{ issue.title }}", "a b", "x/{{ issue.identifier | upcase }}", "-x"]) {
    assert.match(problemsOf({ ...app, branch_template: template }), /branch_template must make/);
  }
});

test("THREAT-3: a secret in a title is in no branch name, nor is a name that the tracker made of that title", () => {
  const redactor = createRedactor();
  redactor.add("Hunter2-Pass");
  const redact = (text: string) => redactor.redact(text);
  const { repositories } = gitOf({
    ...app,
    branch_template: "{{ issue.branch_name }} or {{ issue.identifier }}-{{ issue.slug }}",
  });
  const named = (title: string, branchName: string) =>
    branchFor(
      repositories[0] ?? assert.fail("no repository"),
      nameable({ ...issue("ENG-1"), title, branchName }, redact),
      "main",
    );
  assert.equal(named("Log in", "ada/eng-1-log-in"), "ada/eng-1-log-in");
  assert.equal(
    named("Log in with Hunter2-Pass now", "ada/eng-1-log-in-with-hunter2-pass-now"),
    "ENG-1-log-in-with-redacted-now",
  );
  assert.equal(named("Log in", "ada/eng-1-Hunter2-Pass"), "ENG-1-log-in");
});
