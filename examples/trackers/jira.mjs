// Jira Cloud as a tracker: docs/trackers/command.md. Needs JIRA_URL, JIRA_EMAIL, JIRA_TOKEN, JIRA_JQL.
import { createInterface } from "node:readline";

const { JIRA_URL, JIRA_EMAIL, JIRA_TOKEN, JIRA_JQL } = process.env;
const user = Buffer.from(`${JIRA_EMAIL}:${JIRA_TOKEN}`).toString("base64");
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
    const { comments } = await jira(
      "GET",
      `issue/${issue.id}/comment?maxResults=1000&orderBy=-created`,
    );
    const known = comments.find((one) => one.body.includes(mark));
    const text = { body: body.replace("<!-- symphony -->", mark) }; // Jira shows HTML comments.
    const [method, path] = known ? ["PUT", `comment/${known.id}`] : ["POST", "comment"];
    await jira(method, `issue/${issue.id}/${path}`, text);
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
