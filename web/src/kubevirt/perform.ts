import { patchObject } from '../kubernetes/patch';
import { type Answer, send } from '../kubernetes/request';
import { objectPath, RESOURCES, subresourcePath } from '../kubernetes/resource';
import { type Action, SUSPENDED } from './actions';

/** Asks the server to do it. Throws {@link Failure}. */
export function perform(action: Action, namespace: string, name: string): Promise<Answer<unknown>> {
  switch (action) {
    case 'delete':
      return send(objectPath(RESOURCES.virtualMachines, namespace, name), { method: 'DELETE' });
    case 'suspend':
    case 'resume':
      return patchObject(objectPath(RESOURCES.virtualMachines, namespace, name), { metadata: { annotations: { [SUSPENDED]: action === 'suspend' ? 'true' : null } } }, false);
    case 'pause':
    case 'unpause':
      return send(subresourcePath(RESOURCES.virtualMachineInstances, namespace, name, action), { method: 'PUT', body: {} });
    case 'start':
    case 'stop':
    case 'restart':
      return send(subresourcePath(RESOURCES.virtualMachines, namespace, name, action), { method: 'PUT', body: {} });
  }
}

/** The command that does the same. */
export function commandOf(action: Action, namespace: string, name: string): string {
  if (action === 'delete') return `kubectl -n ${namespace} delete vm ${name}`;
  if (action === 'pause' || action === 'unpause') return `anyvirt ${action} -n ${namespace} vm ${name}`;
  return `anyvirt ${action} -n ${namespace} ${name}`;
}
