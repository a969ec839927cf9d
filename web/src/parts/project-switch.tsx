import { useLocation, useNavigate } from '@tanstack/react-router';
import { useMemo } from 'react';

import type { KubernetesObject } from '../kubernetes/object';
import { RESOURCES } from '../kubernetes/resource';
import { useWatched } from '../kubernetes/store';
import { chooseProject, movedTo, type Place, projectAt, useChosenProject } from '../session/project';
import { t } from '../words/words';
import { Choice } from './choice';

/**
 * Which project (namespace) the pages show; stands in the masthead. What is chosen here goes with the navigation; a page
 * of one project that was opened by its address does not choose for the others.
 */
export function ProjectSwitch(): React.JSX.Element {
  const namespaces = useWatched<KubernetesObject>(RESOURCES.namespaces);
  const options = useMemo(() => [...namespaces.objects.keys()].sort().map((name) => ({ value: name, label: name })), [namespaces.objects]);
  const { pathname, search } = useLocation();
  const place: Place = { pathname, search };
  const navigate = useNavigate();
  const chosen = useChosenProject();
  const here = projectAt(place);
  const change = (project: string | undefined): void => {
    const wanted = project ?? null;
    chooseProject(wanted);
    const next = movedTo(place, wanted);
    if (next !== undefined) void navigate({ to: next.pathname, search: next.search as never });
  };
  const shown = here === undefined ? chosen : here;
  return <Choice label={t('Project')} all={t('All projects')} value={shown ?? undefined} options={options} onChange={change} />;
}
