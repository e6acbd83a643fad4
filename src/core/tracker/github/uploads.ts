import type { GithubSettings } from "../../github/settings.ts";
import type { Uploads } from "../tracker.ts";

/** `/user-attachments/assets/…`, its earlier form with the repository, and that of GitHub Enterprise Server. */
const paths = [
  /^\/user-attachments\/assets\/[\w-]+$/,
  /^\/[\w.-]+\/[\w.-]+\/assets\/\d+\/[\w-]+$/,
  /^\/storage\/user\/\d+\/files\/[\w-]+$/,
];
/** Earlier uploads, which are public, and what the page itself shows for a few minutes, signed. */
const imageHosts: ReadonlySet<string> = new Set([
  "user-images.githubusercontent.com",
  "private-user-images.githubusercontent.com",
]);
/** Where the address of an upload leads, signed. */
const storage = /^github-production-[a-z-]+-[0-9a-f]+\.s3\.amazonaws\.com$/;

/**
 * What people put into issues and comments of this site. Its addresses take the token of the API and lead to a signed
 * one: https://github.com/pingdotgg/t3code/pull/10775 (September 2026). A fine-grained token is refused with 404 for some:
 * https://github.com/josegonzalez/python-github-backup/issues/477 (January 2026).
 */
export function githubUploads(
  { web, api }: Pick<GithubSettings, "web" | "api">,
  token: (issueId: string) => Promise<string>,
): Uploads {
  const origin = `${new URL(api).protocol}//${web}`;
  const isPublic = (url: URL) =>
    web === "github.com" && url.protocol === "https:" && imageHosts.has(url.host);
  const holds = (url: URL) =>
    isPublic(url) || (url.origin === origin && paths.some((form) => form.test(url.pathname)));
  return {
    holds,
    authorization: (url, issueId) =>
      url.origin === origin ? token(issueId).then((value) => `Bearer ${value}`) : null,
    leadsTo: (url) =>
      holds(url) ||
      (web === "github.com" && url.protocol === "https:" && storage.test(url.host)) ||
      // GitHub Enterprise Server serves files at a name of their own.
      url.origin === origin.replace("://", "://media."),
  };
}
