import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { describe, test } from "node:test";
import {
  agentEnvironment,
  launchLine,
  openProxies,
} from "../../../src/core/process/environment.ts";

const allowed = {
  PATH: "/bin",
  HOME: "/home/ann",
  USER: "ann",
  LOGNAME: "ann",
  SHELL: "/bin/bash",
  LANG: "C.UTF-8",
  LC_ALL: "C",
  LC_TIME: "C",
  TERM: "xterm",
  TZ: "UTC",
  TMPDIR: "/tmp",
  CODEX_HOME: "/home/ann/.codex",
};

describe("the environment of an agent", () => {
  test("THREAT-2: it is the allow-list and the run cookie, for any other variables of the server", () => {
    const canaries = Object.fromEntries(
      ["LINEAR_API_KEY", "OPENAI_API_KEY", "CODEX_API_KEY", "GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY"]
        .concat([
          "SYMPHONY_MASTER_KEY",
          "SYMPHONY_AGENT__MAX_TURNS",
          "SYMPHONY_RUN_ID",
          "path",
          "LC",
        ])
        .map((name) => [name, "canary"]),
    );
    const env = { ...allowed, ...canaries, NOT_SET: undefined };
    assert.deepEqual(agentEnvironment({ env, passthrough: [], secretNames: [], runId: "att_1" }), {
      ...allowed,
      SYMPHONY_RUN_ID: "att_1",
    });
  });

  test("an operator may add variables, but no secret and no variable of symphony's own", () => {
    const env = {
      HTTPS_PROXY: "http://proxy",
      LINEAR_API_KEY: "x",
      SYMPHONY_MASTER_KEY: "x",
      TERM: "xterm",
    };
    const result = agentEnvironment({
      env,
      passthrough: Object.keys(env),
      secretNames: ["LINEAR_API_KEY", "TERM"],
      runId: "att_1",
    });
    assert.deepEqual(result, { HTTPS_PROXY: "http://proxy", SYMPHONY_RUN_ID: "att_1" });
  });

  test("D2: a proxy without a password may be inherited, also in lower case", () => {
    const env = {
      ...{ HTTPS_PROXY: "http://proxy:8080", no_proxy: ".example", https_proxy: undefined },
      ...{ ALL_PROXY: "http://me:canary@proxy:8080", MY_PROXY: "http://proxy", HTTP_PROXY_X: "x" },
    };
    assert.deepEqual(openProxies(env), ["HTTPS_PROXY", "no_proxy", "https_proxy"]);
  });

  test("A-2: only valid names are unset, and symphony's own variables except the cookie", () => {
    const line = launchLine('echo "$A|$B|$SYMPHONY_X|$SYMPHONY_RUN_ID|$name|$KEPT"', [
      "A",
      "B",
      "x; echo injected",
      "$(echo injected)",
      "1A",
      "",
    ]);
    assert.ok(!line.includes("injected"));
    const env = { A: "1", B: "2", SYMPHONY_X: "3", SYMPHONY_RUN_ID: "att_1", KEPT: "4" };
    const { stdout } = spawnSync("bash", ["-c", line], {
      env,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "inherit"],
    });
    assert.equal(stdout, "|||att_1||4\n");
  });

  test("THREAT-2: with passthrough names, variables that a login profile exported are removed as well", () => {
    const line = launchLine("env -0", [], { passthrough: ["HTTPS_PROXY", "x; echo injected"] });
    assert.ok(!line.includes("injected"));
    const canaries = Object.fromEntries(
      Array.from({ length: 40 }, (_, at) => [`CANARY_${at}`, "x\ny=z"]),
    );
    const env = {
      ...allowed,
      PATH: "/usr/bin:/bin",
      HTTPS_PROXY: "p",
      ...canaries,
      SYMPHONY_RUN_ID: "r",
    };
    const { stdout } = spawnSync("bash", ["-c", line], { env, encoding: "utf8" });
    const seen = stdout.split("\0").map((entry) => entry.split("=")[0]);
    const shells = ["", "PWD", "OLDPWD", "SHLVL", "_"];
    assert.deepEqual(
      seen.filter((name) => name !== undefined && !shells.includes(name)).sort(),
      [...Object.keys(allowed), "HTTPS_PROXY", "SYMPHONY_RUN_ID"].sort(),
    );
  });

  test("A-1: the command is kept as written", () => {
    const command = "X='a b' codex -c k=\"$PWD\" app-server && true";
    assert.ok(launchLine(command, []).endsWith(`\n${command}`));
  });
});
