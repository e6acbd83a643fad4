// Jira Cloud as a tracker: docs/trackers/command.md. Needs JIRA_URL, JIRA_EMAIL, JIRA_TOKEN, JIRA_JQL.
// JIRA_WRITERS are the account ids, separated by commas, of the people whose comments may be commands.
import { createInterface } from "node:readline";

const { JIRA_URL, JIRA_EMAIL, JIRA_TOKEN, JIRA_JQL, JIRA_WRITERS = "" } = process.env;
const user = btoa(`${JIRA_EMAIL}:${JIRA_TOKEN}`);
const headers = { authorization: `Basic ${user}`, "content-type": "application/json" };
const fields = ["summary", "description", "status", "priority", "labels", "created", "updated"];
async function jira(method, path, body) {
  const order = { method, headers, body: JSON.stringify(body) };
  const answer = await fetch(`${JIRA_URL}/rest/api/2/${path}`, order);
  if (answer.ok) return answer.json().catch(() => null);
  throw { status: answer.status, retry_after: answer.headers.get("retry-after") };
}
const wire = ({ id, key: identifier, fields: { summary: title, status, priority, ...more } }) => ({
  ...{ id, identifier, title, state: status.name, labels: more.labels },
  ...{ url: `${JIRA_URL}/browse/${identifier}`, priority: Number(priority?.id ?? 0) },
  ...{ description: more.description, created_at: more.created, updated_at: more.updated },
});
const commentsFrom = async (startAt, { id }) =>
  (await jira("GET", `issue/${id}/comment?orderBy=-created&startAt=${startAt}`)).comments;
const methods = {
  async list({ states, after: nextPageToken }) {
    const jql = `(${JIRA_JQL}) AND status IN (${states.map((one) => JSON.stringify(one))})`;
    const page = await jira("POST", "search/jql", { jql, fields, maxResults: 10, nextPageToken });
    return { issues: page.issues.map(wire), next: page.nextPageToken };
  },
  async get({ ids: issueIdsOrKeys }) {
    const found = await jira("POST", "issue/bulkfetch", { issueIdsOrKeys, fields });
    return { issues: found.issues.map(wire), unread: found.issueErrors };
  },
  async move({ issue, state }) {
    const { transitions } = await jira("GET", `issue/${issue.id}/transitions`);
    const transition = transitions.find(({ to }) => to.name === state);
    if (!transition) throw { code: "not_allowed", message: `no transition leads to ${state}` };
    await jira("POST", `issue/${issue.id}/transitions`, { transition: { id: transition.id } });
  },
  async comment({ issue, key, body }) {
    const mark = `{anchor:${key}}`; // One comment for each key.
    let known;
    for (let page, at = 0; !known && page?.length !== 0; at += page.length) {
      page = await commentsFrom(at, issue);
      known = page.find((one) => one.body.includes(mark));
    }
    const text = { body: body.replace("<!-- symphony -->", mark) }; // Jira shows HTML comments.
    const [method, path] = known ? ["PUT", `comment/${known.id}`] : ["POST", "comment"];
    await jira(method, `issue/${issue.id}/${path}`, text);
  },
  async comments({ issue }) {
    const { accountId: own } = await jira("GET", "myself");
    const newest = (await commentsFrom(0, issue)).slice(0, 30); // They fit into one line.
    const comments = newest.reverse().map(({ id, author, body, created: created_at }) => ({
      ...{ id, author: author?.displayName ?? "unknown", created_at },
      by: author?.accountId === own ? "own" : author?.accountType === "app" ? "machine" : "person",
      may_write: JIRA_WRITERS.split(",").includes(author?.accountId),
      body: body.replace(/\{(code|noformat|quote)\b[^}]*\}/g, "\n```\n").slice(0, 10_000),
    }));
    return { comments };
  },
};
createInterface({ input: process.stdin }).on("line", async (line) => {
  const { id, method, params } = JSON.parse(line);
  const work = methods[method]?.(params) ?? Promise.reject({ code: "unsupported" });
  const done = work.then((result) => ({ result }));
  const said = await done.catch(({ message, cause, ...error }) => ({
    error: { message: cause?.message ?? message, ...error },
  }));
  process.stdout.write(`${JSON.stringify({ id, ...said })}\n`);
});
