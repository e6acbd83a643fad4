import { SymphonyError } from "../core/model/errors.ts";
import { onServerIssue } from "./failure.ts";
import { showInBrowser } from "./input.ts";
import { plainLine } from "./output.ts";
import { issueArgument, row } from "./table.ts";

/** Tries refused steps again, and reads the pull request again. */
export const deliverCommand = row({
  examples: ["symphony deliver ENG-123", "symphony deliver ENG-123 --json | jq .delivery.branch"],
  arguments: [issueArgument],
  call: ({ issue: id }, context) =>
    onServerIssue(id, context, (client) => client.issues.deliver({ params: { id } })),
  print({ issue_identifier: name, delivery }, { note }) {
    const next = delivery.pull_request === null ? "diff" : "open";
    note(`${name}: ${plainLine(delivery.summary)}; symphony ${next} ${name} shows it`);
  },
});

/** Prints where the work is, and opens it in the browser of a terminal. */
export const openCommand = row({
  examples: ["symphony open ENG-123", "symphony open ENG-123 --print"],
  arguments: [issueArgument],
  options: [{ name: "print", summary: "only print the address" }],
  async call({ issue: id }, context) {
    const detail = await onServerIssue(id, context, (client) =>
      client.issues.detail({ params: { id } }),
    );
    const url = detail.delivery?.pull_request?.url ?? detail.issue.url;
    if (url === null || !/^https?:\/\//.test(url)) {
      throw new SymphonyError("not_found", `${id} has no pull request and no web address`, {
        hint: `symphony diff ${id} shows its work`,
      });
    }
    return { issue_identifier: detail.issue_identifier, url };
  },
  async print({ url }, context, { print }) {
    context.print(url);
    if (!print && context.stdout.isTTY) await showInBrowser(url, context);
  },
});
