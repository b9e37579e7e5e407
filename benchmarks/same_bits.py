"""Which definitions have changed, come or gone without changing a run: the tables that `benchmarks.slices` reads.

Whoever changes the text of what runs are made of, and not one of their bits, enters it here, so that finished runs stay
finished. That no bit changed has been shown by comparing tensors of the code before and after.
"""

# By symbol and new digest, the digest that it keeps. "": a new definition, which is left out.
SAME = {
    ("INITIAL", "03a3560a"): "36eecfac",  # in another order, the first being the default; a run states its `initial`
    ("Network", "8aa39a5b"): "d2d2025e",  # the same default, of `initialise`; it takes nothing from images
    ("Adapted", "3d9112f4"): "d6f9d7a7",  # likewise
    # randomness.py: in place; no two hashes are equal, so any sort will do
    ("hashes", "6d6ff54a"): "72c89f0d",
    ("permutation", "2bb548ea"): "092d3845",
    # subsets.py: the same images in the same order, from a heap and by sorting
    ("_numbers_in_class", "ac26a93c"): "",
    ("_tijdeman", "8540f5fe"): "",
    ("class_sequence", "ac34a7af"): "4e2c496d",
    ("stratified_order", "5bc7d611"): "b604c65b",
    ("validation_mask", "a4c2876b"): "1bb8e6af",
    # pixels.py: the same sums, remembered; one copy for several arrays
    ("ALIGNED", "faf3d201"): "",
    ("CHUNK_BYTES", "870d03c2"): "",
    ("Selected", "04150c5f"): "ab6645cc",
    ("_moments", "afaeb76c"): "",
    ("_moments_of_part", "8d32be76"): "",
    ("_room", "8cb0c668"): "",
    ("_type", "7f03be1c"): "",
    ("moments", "55ba7a3f"): "c4fa05fd",
    ("packed", "414c049e"): "",
    ("resident", "5a736459"): "",
    ("to_device", "f62601f6"): "a10c3148",
    ("unpacked", "3cbd3330"): "",
    # batches.py: several steps at once on GPUs
    ("BLOCK_BYTES", "db709783"): "",
    ("BLOCK_STEPS", "f57bc70c"): "",
    ("Batches", "defa376b"): "1c22fde1",
    ("block_steps", "273d7669"): "",
    # augment.py: decided on the host, made on slices, with the same bits
    ("Change", "f11f3609"): "",
    ("_edges", "4778d670"): "",
    ("_inside", "c2c6b713"): "",
    ("_one_of", "ac415eba"): "",
    ("_partners", "09bb5acb"): "",
    ("_per_image", "96e95b9e"): "",
    ("_unchanged", "2f9331bd"): "",
    ("crop", "f4a532e6"): "3c1f2271",  # and in a frame of zeros as before, where a recipe asks for no other
    ("erase", "8538c36b"): "378adee5",
    ("flip", "7d33c5c0"): "de40497e",
    ("jitter", "32defaf2"): "c50a4f76",
    ("mix", "1fe1c3cb"): "448f018f",
    ("randaugment", "965cd4c3"): "317e7aa4",
    ("resized_crop", "fc0e9b22"): "a36423dd",
    ("trivialaugment", "5272e7e0"): "841864fc",
    # images.py, streamed.py: photographs come another way; windows of crops are a function of their own
    ("Batches", "22c038c5"): "1c22fde1",
    ("Images", "e79211d9"): "07ceee30",
    ("Measurer", "973c2227"): "1b04000a",
    ("Probed", "64ceec36"): "1875584c",
    ("Probing", "57c93bd9"): "31797866",
    ("Training", "4a35cd8b"): "e0ab30ed",
    ("WINDOW_DRAWS", "6805b3d2"): "",
    ("moments", "00e8d243"): "c4fa05fd",
    ("read_permuted", "8f4768f9"): "479d75ce",
    ("resized_crop", "2e42085a"): "a36423dd",
    ("windows", "8609a774"): "",
    # ranks: several processes make a step together; one by itself as before
    ("Batches", "e1981741"): "1c22fde1",
    ("Training", "47f06b60"): "e0ab30ed",
    # frozen.py: recipes can train the last layers alone; all others as before
    ("Training", "86396e28"): "e0ab30ed",
    # evaluation.py: labels of more than 32,768 classes, predictions of more than 65,536, in more bits; others as before
    ("evaluate", "9955d5b8"): "2a7d1217",
    # beta.py: the quantiles that scipy has
    ("ALPHAS", "2b8a74a6"): "",
    ("NODES", "152df3f4"): "",
    ("SMALLEST", "d42d42d4"): "",
    ("TOLERANCE", "c312f376"): "",
    ("_read", "dd815892"): "",
    ("_table", "c5d7ccc7"): "",
    ("quantiles", "2315a645"): "",
    # operations.py: the same constants without a copy
    ("grey", "3c0d85d0"): "7e4ec453",
    ("hue", "38ac00f7"): "e69b3c1a",
    ("smooth", "a9bcbe68"): "1b7aefa1",
    # averaging.py: all tensors in one call
    ("Average", "0b69bb58"): "6f4de08e",
    ("_Moments", "b963629d"): "2ef9cdd0",  # on a GPU summed in parts, on a CPU at once as before
    ("_at_once", "fa4f3eb1"): "",
    ("ELEMENTS", "9bda7856"): "",
    ("estimate", "b51c5277"): "104486e4",  # smaller batches where there was an error: no memory
    ("_estimated", "e2c4a304"): "",
    ("LEAST", "1b7e7da6"): "",
    ("release", "bd312228"): "",
    ("by_pair", "66459df8"): "",  # what picked entries by an index unfolds them
    ("by_key", "e6c896a8"): "",  # likewise
    ("lines", "059c1131"): "",  # likewise
    ("reaching", "6d5acbb9"): "",  # likewise
    ("Bias2d", "649d78e9"): "49c2b1c5",  # unfolds: the same values, and sums in the same order
    ("ContinuousBias", "c1a58cf5"): "a072fb05",  # likewise
    ("WindowAttention", "b1a3cc3c"): "10372858",  # likewise
    ("Windows", "939e7ad9"): "59089c99",  # likewise; and its mask is given by itself
    ("Relative1d", "17e41641"): "d59a2ee0",  # likewise
    ("Relative2d", "292d3b74"): "6cee65fd",  # likewise; `sources._regrouped` names the runs it changed
    ("Resize", "8f6eaeb5"): "",  # the gradient of a resized table alone; likewise
    ("resized", "40827b7e"): "",  # likewise
    ("interpolation_matrix", "ed37a28b"): "",  # likewise
    ("resize_axis", "9ef46fbd"): "db55c3a5",  # likewise
    ("resize_image", "cde39ec2"): "05e05c1a",  # likewise
    ("resize_matrix", "7b212a20"): "876e43d7",  # by a function of its own
    ("attend", "104ce700"): "5dfd7c38",  # the fused form, which no CPU uses, rounds no bias
    ("fused_attention", "63ebd7ee"): "",  # likewise
    ("Attention", "778647fd"): "e98962d8",  # its mask is given by itself
    # vit.py, positions: registers, and an encoding that reads tokens; without them the same operations
    ("ViT", "9121de35"): "1c8636ea",
    ("Attention", "8b5b9ddc"): "e98962d8",
    ("Position", "8825c457"): "32acfafb",
    ("Learned1d", "fcbcf868"): "1476a3e1",
    ("Learned2d", "e0dabdd4"): "951b9cdb",
    ("frame_class", "7c033c89"): "0afcd864",
    ("Bias2d", "6c4fc2c3"): "49c2b1c5",
    # double precision on the CPU for Apple's GPUs alone
    ("WITHOUT_DOUBLES", "e803d59d"): "",
    ("device_of_doubles", "7a4b5ca2"): "",
    ("resized_windows", "1520f8ee"): "1cfc26ca",
    # training.py, compiling.py, step_graph.py: TF32, and whole steps as graphs, on CUDA alone
    ("PLAIN_STEPS", "e4ef3b94"): "",
    ("Recorder", "7a67e27c"): "",
    ("StepGraphs", "d225c99c"): "",
    ("Training", "45c07ba0"): "e0ab30ed",
    ("learning_rate", "32a009b1"): "e9047050",  # a warm-up may begin above 0; from 0 the same numbers
    ("arithmetic", "5722e474"): "c56ae0e6",
    ("backward_arithmetic", "b552caca"): "",
    ("compiled", "442a9f4e"): "5d5f20c8",
    ("tf32", "13fb1c62"): "",
    # isotropic.py, swin.py, positions/base.py: what CUDA and torch 2.11 need
    ("Pool", "59c89a84"): "d46bd776",
    ("Position", "6dfdf180"): "32acfafb",
    ("Windows", "cd2215de"): "59089c99",
    # evaluation: more images at once on a GPU, all logits copied once
    ("GPU_TOGETHER", "2a24c624"): "",
    ("Measurer", "69b43ebe"): "1b04000a",  # and mirror images, where an evaluation asks for them
    ("_logits", "083aa1e9"): "89a4cc1e",
    ("images_together", "f36a99ee"): "",
    ("logits_of", "dc2f5f05"): "9d4bbada",
    ("constructor_arguments", "aa336f16"): "65fd2f9f",  # mixers are parts with options of their own, as encodings are
    # published.py and who asks it: images and heads as published are options, which runs of before did not have
    ("Squares", "80fc284b"): "f64d56cb",
    ("squares", "97eaff30"): "32bb2b60",
    ("Batches", "b2c692f0"): "1c22fde1",
    ("Batches", "48c14882"): "1c22fde1",  # all of these together
    ("Normaliser", "f9b7373a"): "ba2d36aa",
    ("resize", "4f2fdabf"): "980ed58e",
    ("Measurer", "d539b896"): "1b04000a",
    ("model_of", "9c819a8a"): "bc96b793",
    ("Adapted", "66369d69"): "d6f9d7a7",
    ("Published", "a2bd62b0"): "",
    ("_of_timm", "77ff2ffc"): "",
    ("_of_torchvision", "7d7ed0d8"): "",
    ("_wordnet_ids", "e57ee6f3"): "",
    ("places_in_head", "b5c66b35"): "",
    ("published", "206dbb18"): "",
    ("share_of", "6ff16171"): "",
    ("Timm", "0b3de456"): "d5113a93",
    ("Torchvision", "7aea86e5"): "f4b4e7ce",
    # probing.py: one more choice of what is kept
    ("_kept", "757312c7"): "e30009a4",
    # evaluation.py, probing.py: what a probe changes are the pixels that are shown; those of ordinary images as before
    ("Measurer", "827d817c"): "1b04000a",
    ("Probing", "28fac6ee"): "31797866",  # of photographs `sources.evaluation_code` has another digest
    # whoever measures is called between two batches of images; what is not given up has the same operations
    ("logits_of", "bda525b6"): "9d4bbada",
    ("estimate", "9d6e766c"): "104486e4",
    ("_estimated", "7db91296"): "",
    ("Measurer", "fd91900d"): "1b04000a",  # and one estimate of BatchNorm for all probes of an evaluation
    ("evaluate", "83f4583d"): "2a7d1217",
    ("_kept", "2334b055"): "e30009a4",
    # init_from.py: the folder of a run is found by a function of its own; one more message
    ("_folder", "9374ce60"): "",
    ("_folder", "b9a6a14c"): "",  # a rerun's start is the record's
    ("weights_path", "9180aadd"): "efea2961",
    # positions/base.py, normalisation.py: what recorded steps of a GPU read stays, and nothing is copied to it
    ("Position", "5a1e93d5"): "32acfafb",
    ("Groups", "17cf2d10"): "67163b01",
    # positions/biases.py: offsets in units of the training grid, unless weights come from another
    ("ContinuousBias", "3ef6bc52"): "a072fb05",
    ("Fire", "423b20e4"): "e8350641",
    ("Measured", "47c9ed1e"): "",
    # positions/base.py, ladder.py: how much wider an encoding makes what a token sees, for descriptions
    ("Position", "3d8f6691"): "32acfafb",
    ("Conditional", "5b41e3a0"): "0f5baadf",
    ("Ladder", "0c58bba8"): "69226bfd",
    ("Adapted", "d207ace5"): "d6f9d7a7",  # adapter.py: no trial of a size while torch.compile traces
    ("parse_way", "f018e526"): "893e581b",  # options.py: a slip is no number; what was one, is
    # decoders.py: a message says how torchcodec is installed; images are turned without writing their other tags anew
    ("check_decoder", "2afd774b"): "079d7356",
    ("_upright", "8feb40a5"): "498f6bbe",
    ("turn_of", "af0263af"): "",
    ("TURNS", "1ce1c524"): "",
    ("BROKEN", "2d2ef12c"): "",
    ("_identified", "a0129dd2"): "c47b8234",
    ("shown_by_torchcodec", "aa9afaee"): "7669ce9b",  # what it refused goes by Pillow
    ("OF_TORCHCODEC", "22778a61"): "",
    # folders.py, readers.py: names of folders that are refused, and files that are named
    ("LONGEST", "c4abe088"): "",
    ("safe", "fb45309a"): "",
    ("place", "92214665"): "5cd2d875",
    ("_decoded", "6cb8a39e"): "0cd209be",
}

# By symbol and digest: definitions of before that have left the slices they were part of.
GONE: set[tuple[str, str]] = {
    ("_apply", "51969e7c"),
    ("BY_PILLOW_ALONE", "42dfb22f"),  # for OF_TORCHCODEC
    ("_column", "9fba8100"),
    ("_constant", "241dc1d4"),
    ("_rectangle", "5f897ef5"),
    ("offset_index", "9d4fc34e"),  # for `by_pair`
    ("make_constant", "51b5122b"),  # it left the mask alone
    ("offsets", "8993f349"),  # of windows and biases, with their index
    ("coordinates", "9c878a4e"),  # likewise
}
