// Command bench measures pulling, updating, deploying and pruning bootable images against the Rust crate ostree-ext
// ("judge") and against gzip and tar.
//
//	go run ./container/internal/bench images   # make the images and fill the registry (cached)
//	go run ./container/internal/bench          # the same, then measure
//	go run ./container/internal/bench table    # print the table of the last run again
//	go run ./container/internal/bench curve    # images of 10 and 100 times the layers, files, bytes: ours alone
//
// # Images
//
// All content comes from Debian packages, fetched with apt-get download and kept in the cache together with the list
// of their exact versions, so that images are made once and stay the same. There are three kinds, each with an update:
//
//   - derived: 8 layers, no ostree base. The update changes 200 of the 884 files of the last layer.
//   - base: an ostree commit made by ostree commit and split by the judge into 66 layers (the commit, 64 components,
//     one reserved and empty). The update changes 50 files in each of 4 packages.
//   - mixed: base with 3 derived layers on top. The update changes 200 files of the middle one.
//
// Copying an image between repositories, and encapsulating the commit of base in the 64 components, are measured with base alone.
//
// # Measuring
//
// A run goes through every kind and tool in turn, so that what the machine does meanwhile hits all of them alike. Each
// pull goes into a fresh repository on the file system of the cache; what an earlier step wrote is synced before the
// clock starts. CPU seconds are the rusage of the child and of all its descendants; memory is the sum over the process
// tree, sampled. Nothing is dropped from the page cache.
//
// The second table has what the figures are to be seen beside; rows of which nothing was measured are left out. Our deploy
// less "ostree admin deploy" of the same commit is negative where ours is quicker.
package main
