import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { freshProject, openReal } from "../support/worlds/real-server.ts";
import { symphony } from "../support/worlds/run-symphony.ts";

test("a command that changed something names the next command", async () => {
  await using project = await freshProject();
  await using server = await openReal(project.dir, { env: { HOME: project.dir } });
  await writeFile(join(project.dir, "review.md"), "Review {{ issue.title }}");
  await writeFile(join(project.dir, "overlay.json"), "{}");
  const issue = ["issue", "create", "--title", "One", "--label", "ready"];
  const steps: readonly (readonly [args: readonly string[], next: RegExp, input?: string])[] = [
    [["pause"], /symphony resume ends it/],
    [issue, /symphony explain LOCAL-1 says whether it runs/],
    [["issue", "comment", "LOCAL-1", "hi"], /symphony issue comments LOCAL-1/],
    [["refresh", "--wait"], /The poll has ended/],
    [["transition", "LOCAL-1", "held"], /symphony transition LOCAL-1 queued lets it run again/],
    [["transition", "LOCAL-1", "queued"], /symphony explain LOCAL-1 says when it starts/],
    [["model", "LOCAL-1", "gpt-5.5"], /symphony model LOCAL-1 --clear takes it back/],
    [["templates", "create", "review", "review.md"], /symphony template set ISSUE review/],
    [["template", "set", "LOCAL-1", "review"], /symphony template clear LOCAL-1 takes it back/],
    [
      ["config", "overlay", "set", "agent.max_turns", "5"],
      /symphony config overlay unset agent\.max_turns takes it back/,
    ],
    [["config", "overlay", "unset", "agent.max_turns"], /symphony config get agent\.max_turns/],
    [["config", "overlay", "replace", "overlay.json"], /symphony config get --origin/],
    [["secrets", "add", "HOOK_URL"], /symphony doctor checks it/, "https://hook.example/0123"],
    [["secrets", "rotate"], /symphony doctor opens each/],
    [["secrets", "remove", "HOOK_URL"], /symphony config check names what still needs it/],
    [["template", "clear", "LOCAL-1"], /symphony explain LOCAL-1 says which/],
    [["templates", "delete", "review"], /symphony templates list shows the others/],
    [["audit", "verify"], /symphony audit prints them/],
    [["notify", "list"], /notify in WORKFLOW\.md names them/],
    [["resume"], /symphony state --watch shows what starts/],
  ];
  for (const [args, next, input = ""] of steps) {
    const env = { SYMPHONY_URL: server.url };
    const { code, stderr } = await symphony(args, { cwd: project.dir, env, input });
    assert.equal(code, 0, `${args.join(" ")}: ${stderr}`);
    assert.match(stderr, next, args.join(" "));
  }
});
