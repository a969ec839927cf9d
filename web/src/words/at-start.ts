// The first module of all: texts of tables and menus are made while modules are loaded.
import { chooseLanguage } from './languages';

chooseLanguage();
