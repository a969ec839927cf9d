import { useEffect, useState } from 'react';

import { send } from '../kubernetes/request';
import { t } from '../words/words';
import type { Right } from '../kubevirt/actions';

interface Review {
  status?: { allowed?: boolean; reason?: string };
}

/** Milliseconds an answer is believed: rights change rarely, and the server decides in the end. */
const BELIEVED = 60_000;
const answers = new Map<string, { at: number; allowed: Promise<boolean> }>();

/** Does the server let the user? Unreachable servers count as yes: they will say no themselves. */
export function ask(right: Right, namespace: string | undefined): Promise<boolean> {
  const key = [right.verb, right.type.group, right.type.plural, right.subresource ?? '', namespace ?? ''].join('|');
  const known = answers.get(key);
  if (known !== undefined && Date.now() - known.at < BELIEVED) return known.allowed;
  const group = right.subresource === undefined ? right.type.group : 'subresources.kubevirt.io';
  const allowed = send<Review>('/apis/authorization.k8s.io/v1/selfsubjectaccessreviews', {
    method: 'POST',
    body: {
      apiVersion: 'authorization.k8s.io/v1',
      kind: 'SelfSubjectAccessReview',
      spec: {
        resourceAttributes: {
          verb: right.verb,
          group,
          resource: right.type.plural,
          ...(right.subresource === undefined ? {} : { subresource: right.subresource }),
          ...(namespace === undefined ? {} : { namespace }),
        },
      },
    },
  }).then(({ body }) => body.status?.allowed === true, () => true);
  answers.set(key, { at: Date.now(), allowed });
  return allowed;
}

/** Forgets all answers: somebody else logs in. */
export function forgetRights(): void {
  answers.clear();
}

/** May the user? `undefined` until the server has said. */
export function useRight(right: Right, namespace: string | undefined): boolean | undefined {
  const [allowed, setAllowed] = useState<boolean>();
  const { verb, type, subresource } = right;
  useEffect(() => {
    let shown = true;
    const asked = { verb, type, ...(subresource === undefined ? {} : { subresource }) };
    void ask(asked, namespace).then((answer) => shown && setAllowed(answer));
    return () => {
      shown = false;
    };
  }, [verb, type, subresource, namespace]);
  return allowed;
}

/** What a right is called in RBAC, e.g. `update virtualmachines/start`. */
export function rightName(right: Right): string {
  const plural = right.subresource === undefined ? right.type.plural : `${right.type.plural}/${right.subresource}`;
  return `${right.verb} ${plural}`;
}

/** Why the user may not, in a sentence; `undefined` if they may, or it is not known yet. */
export function useWhyNot(right: Right, namespace: string | undefined): string | undefined {
  return useRight(right, namespace) === false ? t('You may not: {right}', { right: rightName(right) }) : undefined;
}
