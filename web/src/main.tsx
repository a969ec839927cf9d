import './words/at-start';

import '@patternfly/react-core/dist/styles/base.css';
import './console.css';

import { RouterProvider } from '@tanstack/react-router';
import { createRoot } from 'react-dom/client';

import { router } from './router';
import { resume } from './session/session';
import { followSystem } from './theme/theme';

followSystem();
void resume();

const place = document.getElementById('root');
if (place === null) throw new Error('index.html has no element with the id "root"');
createRoot(place).render(<RouterProvider router={router} />);
