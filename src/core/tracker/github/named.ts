import type { RepositoryIssues } from "./repository.ts";

interface Named {
  readonly repository: RepositoryIssues;
  readonly number: number;
}

const form =
  /^(?:https:\/\/[^/]+\/)?(?:(?:([^/#\s]+)\/)?([^/#\s]+?))??(?:\/issues\/|[#-]|^)(\d{1,9})$/;

/** The issue that a person means: `app-12`, `app#12`, `acme/app#12`, `#12` where there is one repository, or its address. */
export function namedIn(repositories: readonly RepositoryIssues[], text: string): Named | null {
  const [, owner, name, digits] = form.exec(text) ?? [];
  if (digits === undefined) return null;
  // A name that two of them have stands for neither.
  const [repository, ...others] = repositories.filter((one) => {
    const { place } = one;
    if (name === undefined) return repositories.length === 1;
    if (owner !== undefined) return one.isAt({ owner, repo: name });
    return [place.prefix, place.repo].some((one) => one.toLowerCase() === name.toLowerCase());
  });
  if (repository === undefined || others.length > 0) return null;
  return { repository, number: Number(digits) };
}
