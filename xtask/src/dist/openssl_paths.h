/* OpenSSL would keep the folder that it was built in, as the place where it looks for modules. The programs load none, so
   this is a folder that is the same everywhere and that only root can fill. */
#undef MODULESDIR
#define MODULESDIR "/usr/local/ssl/modules"
#undef ENGINESDIR
#define ENGINESDIR "/usr/local/ssl/engines"
