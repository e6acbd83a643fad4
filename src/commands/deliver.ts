import type { Api } from "../contract/api.ts";
import type { Reply } from "../contract/route.ts";
import { SymphonyError } from "../core/model/errors.ts";
import { onServerIssue } from "./failure.ts";
import { showInBrowser } from "./input.ts";
import { plainLine, relative } from "./output.ts";
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

type Detail = Reply<Api["issues"]["detail"]>;

/** Where offered work is and what it waits for or why not, the rounds that it took, and what came back last. */
export function reviewFacts({
  delivery,
  feedback,
}: Pick<Detail, "delivery" | "feedback">): readonly [string, string][] {
  const facts: [string, string][] = [];
  if (delivery !== null) facts.push(["delivery", delivery.summary]);
  if (feedback === null) return facts;
  const { rounds, max_rounds: most, last } = feedback;
  facts.push(["rounds", `${rounds} of ${most} without a word of a person`]);
  if (last === null) return facts;
  const by = last.author ?? "a check";
  return [...facts, ["feedback", `${by}, ${relative(last.at, Date.now())}: ${last.text}`]];
}
