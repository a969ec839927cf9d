import { Alert, Button, Card, CardBody, CardTitle, Checkbox } from '@patternfly/react-core';
import { DownloadIcon } from '@patternfly/react-icons';
import { useEffect, useRef, useState } from 'react';

import { Failure } from '../kubernetes/failure';
import type { Machine } from '../kubevirt/machine';
import { download } from '../parts/download';
import { FailureAlert } from '../parts/failure-alert';
import { useSession } from '../session/session';
import { plural, t } from '../words/words';
import { type Bundle, bundleOfCluster, bundleOfMachine, fileNameOf } from './bundle';

/** How far a bundle is. */
type Made = { is: 'idle' } | { is: 'busy' } | { is: 'done'; fileName: string; missing: string[] } | { is: 'failed'; failure: Failure };

/** Makes one file of what helps others to help, about a machine, or without one about the cluster. */
export function SupportCard(props: { machine?: Machine }): React.JSX.Element {
  const { machine } = props;
  const session = useSession();
  const [made, setMade] = useState<Made>({ is: 'idle' });
  const [isWithSerial, setWithSerial] = useState(false);
  const running = useRef<AbortController>(undefined);
  useEffect(() => () => running.current?.abort(), []);

  async function make(): Promise<void> {
    const stop = new AbortController();
    running.current = stop;
    setMade({ is: 'busy' });
    const by = session.state === 'in' ? session.user.name : '';
    try {
      const bundle = machine === undefined ? await bundleOfCluster(by, stop.signal) : await bundleOfMachine(machine, by, isWithSerial, stop.signal);
      download(fileOf(bundle), fileNameOf(bundle));
      setMade({ is: 'done', fileName: fileNameOf(bundle), missing: Object.entries(bundle.missing).map(([part, why]) => `${part}: ${why}`) });
    } catch (thrown) {
      if (!stop.signal.aborted) setMade({ is: 'failed', failure: Failure.of(thrown) });
    }
  }

  return (
    <Card component="section">
      <CardTitle component="h2">{t('Support bundle')}</CardTitle>
      <CardBody className="av-stack">
        <p>
          {machine === undefined
            ? t('One file for somebody who helps you: versions, settings, nodes, the state of all machines, warnings. Of what you may read.')
            : t('One file for somebody who helps you: the machine, its instance and pods, events, explanation, QEMU’s command line, its node, versions. Of what you may read.')}
        </p>
        <p className="av-subtle av-small">{t('Secrets are not read; cloud-init, passwords, tokens and keys are left out where they can be told. Look into it before you pass it on.')}</p>
        {machine?.vmi !== undefined && (
          <Checkbox
            id="support-serial"
            label={t('With the end of what the guest printed on its serial line, which may hold secrets')}
            isChecked={isWithSerial}
            onChange={(_event, isChecked) => setWithSerial(isChecked)}
          />
        )}
        <div>
          <Button variant="secondary" icon={<DownloadIcon />} isLoading={made.is === 'busy'} isDisabled={made.is === 'busy'} onClick={() => void make()}>
            {t('Download')}
          </Button>
        </div>
        {made.is === 'failed' && <FailureAlert title={t('The support bundle could not be made')} failure={made.failure} />}
        {made.is === 'done' && (
          <Alert variant={made.missing.length === 0 ? 'success' : 'warning'} isInline isLiveRegion title={t('{name} was made', { name: made.fileName })}>
            {made.missing.length > 0 && (
              <>
                <p>{plural(made.missing.length, '{count} part could not be read, or not whole:', '{count} parts could not be read, or not whole:')}</p>
                <ul>{made.missing.map((one) => <li key={one}>{one}</li>)}</ul>
              </>
            )}
          </Alert>
        )}
      </CardBody>
    </Card>
  );
}

function fileOf(bundle: Bundle): Blob {
  return new Blob([JSON.stringify(bundle, undefined, 2)], { type: 'application/json' });
}
