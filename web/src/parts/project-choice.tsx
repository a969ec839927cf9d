import { useMemo } from 'react';

import type { KubernetesObject } from '../kubernetes/object';
import { RESOURCES } from '../kubernetes/resource';
import { useWatched } from '../kubernetes/store';
import { t } from '../words/words';
import { Choice } from './choice';

/** Which project (namespace) is shown. */
export function ProjectChoice(props: { value: string | undefined; onChange: (project: string | undefined) => void }): React.JSX.Element {
  const namespaces = useWatched<KubernetesObject>(RESOURCES.namespaces);
  const options = useMemo(() => [...namespaces.objects.keys()].sort().map((name) => ({ value: name, label: name })), [namespaces.objects]);
  return <Choice label={t('Project')} all={t('All projects')} value={props.value} options={options} onChange={props.onChange} />;
}
