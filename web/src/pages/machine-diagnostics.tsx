import { Card, CardBody, CardTitle, DescriptionList, Label } from '@patternfly/react-core';

import type { Condition } from '../kubernetes/object';
import type { Machine } from '../kubevirt/machine';
import { Fact } from '../parts/fact';
import { SupportCard } from '../support/support-card';
import { bytes, moment } from '../words/measures';
import { t } from '../words/words';

/** Conditions that are good news when they are False. */
const GOOD_IF_FALSE: ReadonlySet<string> = new Set(['Paused', 'Suspended', 'Failure', 'RestartRequired', 'StartQueued', 'SoftwareEmulation', 'ManualRecoveryRequired']);
/** Conditions that are facts without being good or bad. */
const NEUTRAL: ReadonlySet<string> = new Set(['LiveMigratable', 'StorageLiveMigratable', 'SoftwareEmulation', 'AgentConnected', 'Paused', 'Suspended']);

/** Is it something to look at? */
export function isBad(condition: Condition): boolean {
  if (NEUTRAL.has(condition.type)) return false;
  return GOOD_IF_FALSE.has(condition.type) ? condition.status === 'True' : condition.status === 'False';
}

/** The conditions of a machine that are something to look at. */
export function badConditions(machine: Machine): Condition[] {
  return (machine.vmi?.status?.conditions ?? machine.vm.status?.conditions ?? []).filter(isBad);
}

/** What is true of a machine, for whoever looks for a fault. */
export function MachineDiagnostics(props: { machine: Machine }): React.JSX.Element {
  const { vm, vmi } = props.machine;
  return (
    <div className="av-stack">
      <Conditions title={t('Conditions of the VirtualMachine')} conditions={vm.status?.conditions ?? []} />
      {vmi !== undefined && <Conditions title={t('Conditions of its instance')} conditions={vmi.status?.conditions ?? []} />}
      <div className="av-two">
        <Card component="section">
          <CardTitle component="h2">{t('Phases')}</CardTitle>
          <CardBody>
            <DescriptionList isHorizontal isCompact>
              {(vmi?.status?.phaseTransitionTimestamps ?? []).map((one) => (
                <Fact key={one.phase} term={one.phase}>{moment(one.phaseTransitionTimestamp)}</Fact>
              ))}
            </DescriptionList>
            {vmi === undefined && <p className="av-subtle">{t('There is no instance: the machine does not run.')}</p>}
          </CardBody>
        </Card>
        <Card component="section">
          <CardTitle component="h2">{t('Volumes')}</CardTitle>
          <CardBody>
            <DescriptionList isHorizontal isCompact>
              {(vmi?.status?.volumeStatus ?? []).map((one) => (
                <Fact key={one.name} term={one.name}>
                  {[one.target, one.phase, one.reason, one.message, one.size === undefined ? undefined : bytes(one.size)].filter(Boolean).join(' · ')}
                </Fact>
              ))}
            </DescriptionList>
            {(vmi?.status?.volumeStatus ?? []).length === 0 && <p className="av-subtle">{t('Nothing is told about volumes.')}</p>}
          </CardBody>
        </Card>
        <Card component="section">
          <CardTitle component="h2">{t('Instance')}</CardTitle>
          <CardBody>
            <DescriptionList isHorizontal isCompact>
              <Fact term={t('Phase')}>{vmi?.status?.phase ?? '–'}</Fact>
              <Fact term={t('Reason')}>{vmi?.status?.reason ?? '–'}</Fact>
              <Fact term={t('Launcher')}>{vmi?.status?.launcherContainerImageVersion ?? '–'}</Fact>
              <Fact term={t('Quality of service')}>{vmi?.status?.qosClass ?? '–'}</Fact>
              <Fact term={t('Memory overhead')}>{vmi?.status?.memory?.memoryOverhead ?? '–'}</Fact>
              <Fact term={t('Isolation')}>{vmi?.status?.accelerator?.isolation ?? '–'}</Fact>
              <Fact term={t('Failed starts')}>{vm.status?.startFailure?.consecutiveFailCount ?? 0}</Fact>
              <Fact term="UID"><span className="av-mono">{vmi?.metadata.uid ?? vm.metadata.uid}</span></Fact>
            </DescriptionList>
          </CardBody>
        </Card>
        <SupportCard machine={props.machine} />
      </div>
    </div>
  );
}

function Conditions(props: { title: string; conditions: readonly Condition[] }): React.JSX.Element {
  return (
    <Card component="section">
      <CardTitle component="h2">{props.title}</CardTitle>
      <CardBody>
        {props.conditions.length === 0 ? (
          <p className="av-subtle">{t('None.')}</p>
        ) : (
          <div className="av-scroll" role="region" aria-label={props.title} tabIndex={0}>
            <table className="av-table">
              <thead>
                <tr>
                  <th scope="col">{t('Type')}</th>
                  <th scope="col">{t('Status')}</th>
                  <th scope="col">{t('Reason')}</th>
                  <th scope="col">{t('Message')}</th>
                  <th scope="col">{t('Since')}</th>
                </tr>
              </thead>
              <tbody>
                {props.conditions.map((condition) => (
                  <tr key={condition.type}>
                    <td>{condition.type}</td>
                    <td><Label isCompact variant="outline" status={isBad(condition) ? 'warning' : 'info'}>{condition.status}</Label></td>
                    <td>{condition.reason ?? '–'}</td>
                    <td className="av-wrap">{condition.message ?? ''}</td>
                    <td className="av-number">{condition.lastTransitionTime === undefined ? '–' : moment(condition.lastTransitionTime)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </CardBody>
    </Card>
  );
}
